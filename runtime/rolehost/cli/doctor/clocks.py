"""Do the clocks agree? Every clock is known to lie within an interval, and only what the intervals prove is said. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from rolehost.cli.doctor.finding import Finding, ok, skipped, warn

SKEW_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """By how many seconds one clock is ahead of another: at least `low`, at most `high`."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def plus(self, other: "Ahead") -> "Ahead":
        """A ahead of B, and B ahead of C: A ahead of C."""
        return Ahead(self.low + other.low, self.high + other.high)

    def minus(self, other: "Ahead") -> "Ahead":
        """A ahead of C, and B ahead of C: A ahead of B."""
        return Ahead(self.low - other.high, self.high - other.low)

    def narrowed(self, other: "Ahead") -> "Ahead":
        """What both measurements of one clock allow; where they contradict, several clocks answered: both.

        >>> Ahead(0.0, 1.0).narrowed(Ahead(0.5, 2.0)), Ahead(0.0, 1.0).narrowed(Ahead(3.0, 4.0))
        (Ahead(low=0.5, high=1.0), Ahead(low=0.0, high=4.0))
        """
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Ahead(low, high) if low <= high else Ahead(min(self.low, other.low), max(self.high, other.high))


def asked(stamp: float, before: float, after: float, coarse: float = 0.0) -> Ahead:
    """A clock that said `stamp` between `before` and `after` by ours; `coarse`: what its stamp leaves out.

    >>> asked(105.0, before=100.0, after=101.0), asked(105.0, before=100.0, after=101.0, coarse=1.0)
    (Ahead(low=4.0, high=5.0), Ahead(low=4.0, high=6.0))
    """
    return Ahead(stamp - after, stamp + coarse - before)


def node_ahead(lease: Mapping[str, Any]) -> Ahead | None:
    """A node's clock against the apiserver's, by its Lease: the kubelet wrote renewTime by its own clock, and the
    apiserver noted by its own, in whole seconds, when that came in. None where it does not say.

    >>> node_ahead({"spec": {"renewTime": "2030-01-01T00:00:09.500000Z"},
    ...             "metadata": {"managedFields": [{"time": "2030-01-01T00:00:03Z"}]}})
    Ahead(low=5.5, high=6.5)
    """
    noted = [seconds(one.get("time", "")) for one in lease["metadata"].get("managedFields") or ()]
    renewed = seconds((lease.get("spec") or {}).get("renewTime") or "")
    times = [time for time in noted if time is not None]
    if renewed is None or not times:
        return None
    return Ahead(renewed - max(times) - 1.0, renewed - max(times))


def seconds(stamp: str) -> float | None:
    """A time as Kubernetes writes it, as Unix time.

    >>> seconds("2030-01-01T00:00:00.250000Z"), seconds("")
    (1893456000.25, None)
    """
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC).timestamp() if stamp else None
    except ValueError:
        return None


def clocks(ahead: Mapping[str, Ahead]) -> Finding:
    """`ahead`: the clocks of gateway, Redis and nodes, each against this machine's, which does not matter itself."""
    if len(ahead) < 2:
        return skipped("clocks", f"fewer than two could be read ({', '.join(ahead) or 'none'})")
    first, second, apart = max(_pairs(ahead), key=lambda pair: abs(pair[2].middle))
    if proved(apart):
        faster, slower = (first, second) if apart.middle > 0 else (second, first)
        return warn(
            "clocks",
            f"{faster} is about {abs(apart.middle):.1f} s ahead of {slower}",
            "Let every node keep its time: timedatectl set-ntp true (chrony or systemd-timesyncd)",
        )
    return ok("clocks", f"{', '.join(ahead)}: within {SKEW_SECONDS:.0f} s")


def proved(apart: Ahead) -> bool:
    """Whether two clocks are surely different, and by more than is allowed as far as can be told.

    >>> proved(Ahead(1.8, 2.8)), proved(Ahead(-1.0, 6.0)), proved(Ahead(0.5, 1.5))
    (True, False, False)
    """
    return abs(apart.middle) > SKEW_SECONDS and not apart.low <= 0.0 <= apart.high


def _pairs(ahead: Mapping[str, Ahead]) -> Iterable[tuple[str, str, Ahead]]:
    """Every clock against every other; of many nodes the two that differ most are enough."""
    nodes = sorted((name for name in ahead if name.startswith("node ")), key=lambda name: ahead[name].middle)
    outer = {nodes[0], nodes[-1]} if nodes else set()
    kept = [name for name in ahead if not name.startswith("node ") or name in outer]
    return ((a, b, ahead[a].minus(ahead[b])) for a, b in combinations(kept, 2))
