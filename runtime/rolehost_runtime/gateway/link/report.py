"""The picture for the operator: pods, what their probes found, and where sessions live."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass

from msgspec.structs import replace

from rolehost_api.link.messages import LoadError, Probe
from rolehost_api.observed import Observed, PodReport, RevisionReport, RolloutReport, WarmReport
from rolehost_runtime.gateway.tables import PodEntry

TICK_SECONDS = 1.0
"""How often a waiting reader's picture is looked at again for sessions that fell silent."""


@dataclass(slots=True)
class Known:
    """What is known of a pod, for the report. It outlives the links that it came over: losing one is no news."""

    probe: Probe | None = None
    """The first one, from before any tenant byte; what it says after that proves nothing."""
    loaded: bool = False
    stood: bool = False
    """The last link to it came as far as Bound."""
    error: LoadError | None = None
    refused: bool = False
    """Its sandbox leaks: it is never bound. A fresh pod may do better, this one may not."""
    carried: int = 0
    """How often it was sent its bundle from here."""


def pod_report(pod: PodEntry, known: Known, sessions: int) -> PodReport:
    return PodReport(
        uid=pod.uid,
        name=pod.name,
        namespace=pod.tenant.name,
        role=pod.role,
        revision=pod.revision,
        host=pod.host,
        probe=known.probe,
        loaded=known.loaded,
        error=known.error,
        sessions=sessions,
    )


class Pins:
    """Which sessions live on which revision. A pin ends by itself at its session's idle timeout."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.ran_out: Callable[[str, str, str, str], None] = lambda namespace, role, revision, key: None
        """Told of a session that was silent for so long that its pin ended."""
        self._of: dict[str, tuple[str, str, str]] = {}
        self._on: dict[tuple[str, str, str], OrderedDict[str, int]] = {}

    def pin(self, namespace: str, role: str, revision: str, session_key: str, until_ms: int) -> None:
        where = (namespace, role, revision)
        if self._of.get(session_key) != where:
            self.release(session_key)
        self._of[session_key] = where
        sessions = self._on.setdefault(where, OrderedDict())
        sessions[session_key] = until_ms
        sessions.move_to_end(session_key)

    def release(self, session_key: str) -> None:
        where = self._of.pop(session_key, None)
        if where is not None:
            self._on[where].pop(session_key, None)
            if not self._on[where]:
                del self._on[where]

    def release_on(self, namespace: str, role: str, revision: str, but: Container[str]) -> list[str]:
        """Nobody lives there any more but those sessions; who did."""
        gone = [key for key in self._on.get((namespace, role, revision), ()) if key not in but]
        for key in gone:
            self.release(key)
        return gone

    def counts(self) -> tuple[RevisionReport, ...]:
        """Revisions with sessions that spoke within their idle timeout."""
        now = self._now_ms()
        for where, sessions in tuple(self._on.items()):
            while sessions and (oldest := next(iter(sessions.items())))[1] < now:
                self.release(oldest[0])
                self.ran_out(*where, oldest[0])
        return tuple(
            RevisionReport(namespace=namespace, role=role, revision=revision, sessions=len(sessions))
            for (namespace, role, revision), sessions in sorted(self._on.items())
        )


class Picture:
    """Numbers the pictures, so that a reader is woken by news and not by every session.

    News is a pod that came, went, loaded or failed, a revision that got its first session or lost its last, and a
    rollout whose first session was moved, whose candidate is held back or was warmed; a count that merely moved is in the
    answer, but wakes nobody.
    """

    def __init__(
        self,
        gateway: str,
        pods: Callable[[], tuple[PodReport, ...]],
        pins: Pins,
        stale: Callable[[], bool],
        rollouts: Callable[[], tuple[RolloutReport, ...]] = tuple,
        warmed: Callable[[], tuple[WarmReport, ...]] = tuple,
    ) -> None:
        self._gateway, self._pods, self._pins, self._stale, self._rollouts = gateway, pods, pins, stale, rollouts
        self._warmed = warmed
        self.listening = False
        """See rolehost_api.observed; whoever changes it rings."""
        self._number = 0
        self._gist: object = None
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something may have changed."""
        self._rung.set()

    def now(self) -> Observed:
        pods, revisions, stale, rollouts = self._pods(), self._pins.counts(), self._stale(), self._rollouts()
        warmed = self._warmed()
        gist = (
            self.listening,
            stale,
            tuple(replace(pod, sessions=0) for pod in pods),
            tuple(replace(revision, sessions=0) for revision in revisions),
            tuple((one.namespace, one.role, one.rollout, one.breaker) for one in rollouts),
            warmed,
        )
        if gist != self._gist:
            self._gist = gist
            self._number += 1
        return Observed(
            gateway=self._gateway,
            number=self._number,
            listening=self.listening,
            pods=pods,
            revisions=revisions,
            stale=stale,
            rollouts=rollouts,
            warmed=warmed,
        )

    async def observed(self, after: int, wait_seconds: float) -> Observed:
        """At once if the picture's number is not `after`, else when it changes or the wait ends."""
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while True:
            self._rung.clear()
            seen = self.now()
            left = deadline - asyncio.get_running_loop().time()
            if seen.number != after or left <= 0:
                return seen
            try:
                async with asyncio.timeout(min(left, TICK_SECONDS)):
                    await self._rung.wait()
            except TimeoutError:
                continue
