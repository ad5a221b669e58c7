"""A session's channels together: when it is urgent, and when the one that follows its state is missing. Sans-IO.

A client may hold two channels of one session: a socket on which it talks, and a watcher
(gRPC's Watch) that follows the state. What happens to either goes in; what everybody is
to be told comes out. Two rules stand over all of it: what is told alternates, so no two
things that were told contradict each other, and the version that is told never goes back.

    state changed urgently, watcher stalls or is lost ─▶ urgent ─ QUIET_MS without another cause ─▶ not urgent
    watcher stalls, or is away for PATIENCE_MS ─▶ ws+poll ─ all flow for `steady` ─▶ normal
                                                      └──── away for GIVE_UP_MS ─▶ normal: it will not come again

`steady` begins at STEADY_MS and doubles with every relapse, so a watcher that comes and goes is not told of
every time. Times are milliseconds of one clock that never goes back.
"""

from dataclasses import dataclass
from typing import Literal

from rolehost_api.wire import URGENT_HEARTBEAT_MS

QUIET_MS = 10_000
"""Without a cause, and the session is not urgent any more."""
PATIENCE_MS = 1_000
"""For a watcher that is gone to come again without a word about it."""
STEADY_MS, MAX_STEADY_MS = 3_000, 60_000
"""For all watchers to flow, before it is said that they do."""
CALM_MS = 60_000
"""Of normality, and the next relapse is a first one again."""
GIVE_UP_MS = 300_000
MAX_MISSING = 8
"""Watchers whose coming again is waited for."""
POLL_MS = 1_000
MISSES = 3
"""Heartbeats for which nothing that was written was taken: a stall."""

Reason = Literal["state", "grpc_stalled", "grpc_lost", "quiet"]
Mode = Literal["ws+poll", "normal"]
Word = Literal["flows", "stalled", "lost"]
"""What a watcher says of itself: it flows (and is there), it takes nothing, its client is gone."""


@dataclass(frozen=True, slots=True)
class Urgency:
    version: int
    is_urgent: bool
    heartbeat_ms: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Degradation:
    version: int
    mode: Mode


Tell = Urgency | Degradation


def stalls(stuck_ms: float, heartbeat_ms: int) -> bool:
    """Whether a watcher that has taken nothing of what was written for so long is a stalled one.

    >>> stalls(1_400, 500), stalls(1_500, 500), stalls(1_500, 5_000)
    (False, True, False)
    """
    return stuck_ms >= MISSES * heartbeat_ms


class Channels:
    """Of one session. Every input returns what is to be told now, in order."""

    def __init__(self, normal_ms: int = 5_000) -> None:
        self._normal_ms = normal_ms
        self._version = 0
        self._urgent_until: float | None = None
        self._reason: Reason = "state"
        self._flowing: set[int] = set()
        self._stalled: set[int] = set()
        self._missing: list[float] = []
        """When those went that have not come again, the longest away first."""
        self._mode: Mode = "normal"
        self._good_since: float | None = None
        """While degraded: since when nothing is wrong."""
        self._normal_since: float | None = None
        self._steady = STEADY_MS

    @property
    def urgent(self) -> bool:
        return self._urgent_until is not None

    @property
    def degraded(self) -> bool:
        return self._mode != "normal"

    # ── what happened ───────────────────────────────────────────────────────────────

    def at(self, version: int) -> None:
        """The state's version as the log says it."""
        self._version = max(self._version, version)

    def forgot(self, version: int) -> None:
        """The store lost a part of the history: versions begin anew from this one."""
        self._version = version

    def changed(self, now: float, version: int, *, urgent: bool) -> list[Tell]:
        """The state changed."""
        self.at(version)
        return self._urge(now, "state") if urgent else []

    def watcher(self, now: float, who: int, word: Word) -> list[Tell]:
        """A watcher came, goes on, stalls, or its client is gone."""
        known = who in self._flowing or who in self._stalled
        self._flowing.discard(who)
        self._stalled.discard(who)
        match word:
            case "flows":
                self._flowing.add(who)
                if not known and self._missing:
                    self._missing.pop(0)
            case "stalled":
                self._stalled.add(who)
            case "lost" if known and len(self._missing) < MAX_MISSING:
                self._missing.append(now)
        return self.tick(now)

    def left(self, now: float, who: int) -> list[Tell]:
        """A watcher ended as it should: it is not missed."""
        self._flowing.discard(who)
        self._stalled.discard(who)
        return self.tick(now)

    # ── time ────────────────────────────────────────────────────────────────────────

    def due(self) -> float | None:
        """When `tick` is to be called next."""
        times = [self._urgent_until]
        if self._missing:
            times.append(self._missing[0] + (GIVE_UP_MS if self.degraded else PATIENCE_MS))
        if self.degraded and self._good_since is not None:
            times.append(self._good_since + self._steady)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> list[Tell]:
        """Time has passed."""
        told: list[Tell] = []
        self._missing = [since for since in self._missing if now < since + GIVE_UP_MS]
        away = bool(self._missing) and now >= self._missing[0] + PATIENCE_MS
        if self._stalled or away:
            self._good_since = None
            if not self.degraded:
                told += self._degrade(now, "grpc_stalled" if self._stalled else "grpc_lost")
        elif self.degraded and not self._missing:
            self._good_since = now if self._good_since is None else self._good_since
            if now >= self._good_since + self._steady:
                self._mode, self._good_since, self._normal_since = "normal", None, now
                told.append(Degradation(self._version, "normal"))
        else:
            self._good_since = None
        if self._urgent_until is not None and now >= self._urgent_until:
            self._urgent_until = None
            told.append(Urgency(self._version, False, self._normal_ms, "quiet"))
        return told

    def standing(self) -> list[Tell]:
        """For somebody who just came: what is not as usual."""
        told: list[Tell] = []
        if self.urgent:
            told.append(Urgency(self._version, True, URGENT_HEARTBEAT_MS, self._reason))
        if self.degraded:
            told.append(Degradation(self._version, self._mode))
        return told

    def _urge(self, now: float, reason: Reason) -> list[Tell]:
        before, self._urgent_until = self.urgent, now + QUIET_MS
        if before:
            return []
        self._reason = reason
        return [Urgency(self._version, True, URGENT_HEARTBEAT_MS, reason)]

    def _degrade(self, now: float, reason: Reason) -> list[Tell]:
        relapse = self._normal_since is not None and now < self._normal_since + CALM_MS
        self._steady = min(MAX_STEADY_MS, 2 * self._steady) if relapse else STEADY_MS
        self._mode = "ws+poll"
        return [*self._urge(now, reason), Degradation(self._version, "ws+poll")]
