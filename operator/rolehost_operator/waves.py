"""An upgrade of what the platform puts into pods goes through the cluster in waves.

Any Deployment may ask to begin; what is decided here is whether there is room. Nothing is
remembered between two looks: that a Deployment rolls, or is stuck, its own status says.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """One sandbox Deployment, as far as an upgrade is concerned."""

    runtime: str = ""
    """Mark of the platform that its pod template was made by; see `desired.deployment.runtime_mark`."""
    rolling: bool = False
    """Earlier pods still run beside the newest, or Kubernetes has not yet looked at the newest template."""
    behind: bool = False
    """Kubernetes gave up on it: earlier pods still run, for the new ones do not come up."""
    stuck: bool = False
    """And that is the new pods' fault: the earlier ones are Ready, and it was let make new ones."""


@dataclass(frozen=True, slots=True)
class Wave:
    room: int
    """How many more Deployments may begin to roll now."""
    rolling: int
    halted: bool
    """A Deployment got stuck on the way to the present runtime: no other one begins."""

    def with_granted(self, count: int) -> "Wave":
        """With so many more that were told to roll and do not show it yet.

        >>> Wave(room=2, rolling=1, halted=False).with_granted(1), Wave(0, 2, False).with_granted(1).room
        (Wave(room=1, rolling=2, halted=False), 0)
        """
        return Wave(max(0, self.room - count), self.rolling + count, self.halted)


def limit(total: int, percent: int) -> int:
    """How many of `total` Deployments may roll at the same time: `percent` of them, rounded down, but at least one.

    >>> [limit(total, 10) for total in (0, 1, 9, 10, 19, 20, 1000)], limit(3, 100)
    ([1, 1, 1, 1, 1, 2, 100], 3)
    """
    return max(1, total * percent // 100)


def wave(standings: Iterable[Standing], runtime: str, percent: int) -> Wave:
    """Where the upgrade to `runtime` stands.

    One that is stuck on an earlier runtime holds nobody up: it is what an upgrade mends.

    >>> old, moving, done = Standing("1"), Standing("2", rolling=True), Standing("2")
    >>> wave([old] * 18 + [moving, done], "2", 10)
    Wave(room=1, rolling=1, halted=False)
    >>> wave([old] * 19 + [Standing("2", stuck=True)], "2", 10)
    Wave(room=0, rolling=0, halted=True)
    >>> wave([old] * 19 + [Standing("2", stuck=True)], "3", 10)
    Wave(room=2, rolling=0, halted=False)
    """
    total = rolling = 0
    halted = False
    for one in standings:
        total += 1
        rolling += one.rolling
        halted = halted or (one.stuck and one.runtime == runtime)
    return Wave(0 if halted else max(0, limit(total, percent) - rolling), rolling, halted)
