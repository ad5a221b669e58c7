"""What is counted of one Role's turns: plain numbers, so that a turn costs a look-up and a few additions. No clock."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence

from prometheus_client.samples import Exemplar

from rolehost_api.crd.role import Objective
from rolehost_api.slo import GOOD
from rolehost_api.wire import Metrics
from rolehost_runtime.core.classifying import LEFT_OUT, Classified, rules_of
from rolehost_runtime.gateway.sessions.metrics import SECONDS

BOUNDS_MS = tuple(1000 * bound for bound in SECONDS)
MAX_REVISIONS = 4
"""Of one Role that have a label of their own."""
MAX_FORMER = 8
"""Objectives that it does not promise any more."""
NOWHERE, OTHER = "", "other"
"""Of turns that had not come to a revision; all others together."""


Trace = tuple[str, float]
"""A trace's id, and when it ended, seconds of Unix time."""
Example = tuple[str, float, float]
"""And how long it took, in milliseconds."""
Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Times:
    """A histogram of milliseconds."""

    __slots__ = ("counts", "examples", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0.0
        self.examples: dict[int, Example] = {}
        """By bucket: the newest turn in it whose trace is told."""

    def add(self, ms: float, trace: Trace | None = None) -> None:
        bucket = bisect_left(BOUNDS_MS, ms)
        self.counts[bucket] += 1
        self.sum_ms += ms
        if trace is not None:
            self.examples[bucket] = (*trace, ms)

    def taken(self) -> "Times":
        """As they are now."""
        copy = Times.__new__(Times)
        copy.counts, copy.sum_ms, copy.examples = self.counts.copy(), self.sum_ms, self.examples.copy()
        return copy

    def buckets(self) -> list[Bucket]:
        """As Prometheus counts them: each with all below it.

        >>> times = Times()
        >>> times.add(7), times.add(400_000, ("4bf9", 1_730_000_000.0))
        (None, None)
        >>> times.buckets()[:2]
        [('0.005', 0), ('0.01', 1)]
        >>> times.buckets()[-1]
        ('+Inf', 2, Exemplar(labels={'trace_id': '4bf9'}, value=400.0, timestamp=1730000000.0))
        """
        below = 0
        found: list[Bucket] = []
        for bucket, (bound, count) in enumerate(zip((*map(_le, SECONDS), "+Inf"), self.counts, strict=True)):
            below += count
            example = self.examples.get(bucket)
            found.append((bound, below) if example is None else (bound, below, _exemplar(*example)))
        return found


def _exemplar(trace_id: str, at: float, ms: float) -> Exemplar:
    return Exemplar({"trace_id": trace_id}, ms / 1000, at)


def _le(bound: float) -> str:
    return str(float(bound))


class Tally:
    """The turns of one revision."""

    __slots__ = ("cells", "first", "last", "row", "total")

    def __init__(self) -> None:
        self.cells: dict[str, list[int]] = {}
        """By objective: good and bad."""
        self.row: list[list[int]] = []
        """Those of the objectives as they are now, in their order."""
        self.first, self.total = Times(), Times()
        self.last = 0
        """Number of the Role's turn that was its newest."""

    def follow(self, names: Sequence[str]) -> None:
        self.row = [self.cells.setdefault(name, [0, 0]) for name in names]


class Book:
    """All that is counted of one Role."""

    __slots__ = ("excluded", "objectives", "rules", "tallies", "targets", "turns", "window")

    def __init__(self, objectives: Sequence[Objective], window_seconds: int) -> None:
        self.tallies: dict[str, Tally] = {}
        """By revision."""
        self.excluded: dict[str, int] = {}
        self.turns = 0
        self.follow(objectives, window_seconds)

    def follow(self, objectives: Sequence[Objective], window_seconds: int) -> None:
        """The Role's objectives are these from now on; what was counted stays with its objective's name."""
        self.objectives, self.window = tuple(objectives), window_seconds
        self.rules = rules_of(objectives)
        self.targets = {one.name: float(one.target) / 100 for one in objectives}
        for tally in self.tallies.values():
            tally.follow(self.rules.names)

    def count(self, tally: Tally, turn: Classified, metrics: Metrics, trace: Trace | None = None) -> None:
        """A turn that was one; what is left out of it, `leave_out` counts."""
        self.turns += 1
        tally.last = self.turns
        for cell, mark in zip(tally.row, turn.marks):  # noqa: B905
            if mark is not LEFT_OUT:
                cell[mark is not GOOD] += 1
        tally.total.add(metrics.total_ms, trace)
        if metrics.ttft_ms is not None:
            tally.first.add(metrics.ttft_ms, trace)

    def leave_out(self, why: str) -> None:
        self.excluded[why] = self.excluded.get(why, 0) + 1

    def tally(self, revision: str, live: Collection[str]) -> Tally:
        """Of a revision that has none yet. Of the MAX_REVISIONS that have one, those that are `live` keep it; who comes
        from among these takes the place of the one that was silent longest, anybody else counts as `other`."""
        named = [name for name in self.tallies if name not in (NOWHERE, OTHER)]
        if revision != NOWHERE and len(named) >= MAX_REVISIONS:
            idle = min(
                (name for name in named if name not in live), key=lambda name: self.tallies[name].last, default=None
            )
            if revision not in live or idle is None:
                revision = OTHER
            else:
                del self.tallies[idle]
        tally = self.tallies.get(revision)
        if tally is None:
            tally = self.tallies[revision] = Tally()
            tally.follow(self.rules.names)
        return tally

    def names(self) -> Iterator[str]:
        """Objectives of which anything is counted, those of before among them."""
        return iter(dict.fromkeys((*self.rules.names, *(name for one in self.tallies.values() for name in one.cells))))

    def former(self) -> list[str]:
        """Of them, those that are not promised any more."""
        return [name for name in self.names() if name not in self.rules.names]

    def drop(self, objective: str) -> None:
        """Nothing is known of it any more."""
        for tally in self.tallies.values():
            tally.cells.pop(objective, None)
