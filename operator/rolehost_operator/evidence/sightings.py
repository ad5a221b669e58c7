"""What the gateways report, put together: a revision is idle only if every one of them says so."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolehost_api.observed import Observed, PodReport
from rolehost_operator.observed import Key

GRACE = timedelta(seconds=15)
"""A gateway that fails or is gone keeps its word for this long: it may be restarting."""
MOST_IDLE = 50_000
Revision = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class _Word:
    """One gateway's report, sorted by whom it concerns."""

    report: Observed
    pods: Mapping[Key, list[PodReport]]
    busy: frozenset[Revision]
    """Revisions with sessions, by their pods' count or by their own."""
    roles: frozenset[Key]

    @classmethod
    def of(cls, report: Observed) -> "_Word":
        pods: dict[Key, list[PodReport]] = defaultdict(list)
        if not report.stale:  # from last good tables: no news of what pods there are
            for pod in report.pods:
                pods[pod.namespace, pod.role].append(pod)
        busy = {(pod.namespace, pod.revision) for pod in report.pods if pod.sessions > 0}
        busy |= {(one.namespace, one.revision) for one in report.revisions if one.sessions > 0}
        roles = frozenset(pods) | {(one.namespace, one.role) for one in report.revisions}
        return cls(report, pods, frozenset(busy), roles)


class Sightings:
    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}
        self._silent_since: dict[str, datetime] = {}
        self._expected: Set[str] = frozenset()
        self._complete_since: datetime | None = None
        self._idle_since: dict[Revision, datetime] = {}
        self._busy: frozenset[Revision] = frozenset()

    @property
    def gateways(self) -> int:
        """How many report."""
        return len(self._words)

    def expect(self, gateways: Set[str], now: datetime) -> Set[Key]:
        """These gateways exist now. Whom it concerns that others are gone, or silent for too long."""
        self._expected = frozenset(gateways)
        for gone in self._words.keys() - self._expected:
            self._silent_since.setdefault(gone, now)
        return self._forget(now)

    def heard(self, gateway: str, report: Observed, now: datetime) -> Set[Key]:
        """Whom it concerns, where the report is not what this gateway said before."""
        before = self._words.get(gateway)
        self._silent_since.pop(gateway, None)
        if before is not None and before.report == report:
            return frozenset()
        word = self._words[gateway] = _Word.of(report)
        self._count(now)
        return word.roles | (before.roles if before else frozenset())

    def missed(self, gateway: str, now: datetime) -> Set[Key]:
        """This gateway did not answer. Its word stands for a while."""
        self._silent_since.setdefault(gateway, now)
        return self._forget(now)

    def pods(self, key: Key) -> tuple[PodReport, ...]:
        """What they say of a Role's pods; of a pod that several see, every word."""
        found = [pod for word in self._words.values() for pod in word.pods.get(key, ())]
        return tuple(sorted(found, key=lambda pod: (pod.revision, pod.uid)))

    def idle_since(self, namespace: str, revisions: Iterable[str]) -> dict[str, datetime]:
        """Since when these have no session anywhere. Empty unless every gateway reports, and sees the cluster."""
        if self._complete_since is None:
            return {}
        since = self._complete_since
        return {
            name: max(since, self._idle_since.get((namespace, name), since))
            for name in revisions
            if (namespace, name) not in self._busy
        }

    def _forget(self, now: datetime) -> Set[Key]:
        forgotten: set[Key] = set()
        for gateway, since in list(self._silent_since.items()):
            if now - since > GRACE:
                del self._silent_since[gateway]
                if word := self._words.pop(gateway, None):
                    forgotten |= word.roles
        self._count(now)
        return forgotten

    def _count(self, now: datetime) -> None:
        """What was busy until now is idle from now on; what is busy is not idle."""
        blind = any(word.report.stale for word in self._words.values())
        if not self._expected or blind or not self._expected <= self._words.keys():
            self._complete_since = None
        elif self._complete_since is None:
            self._complete_since = now
        busy = frozenset[Revision]().union(*(word.busy for word in self._words.values()))
        for revision in self._busy - busy:
            self._idle_since[revision] = now
        for revision in busy:
            self._idle_since.pop(revision, None)
        while len(self._idle_since) > MOST_IDLE:
            del self._idle_since[next(iter(self._idle_since))]
        self._busy = busy
