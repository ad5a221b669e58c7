"""What the gateways report, put together: a revision is idle only if every one of them says so."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from rolehost_api.observed import Observed, PodReport
from rolehost_operator.evidence.tallies import Tallies
from rolehost_operator.observed import Key, Told

GRACE = timedelta(seconds=15)
"""A gateway that fails or is gone keeps its word for this long: it may be restarting."""
MOST_IDLE = 50_000
Revision = tuple[str, str]
"""Namespace and name."""
Warm = tuple[Key, str]
"""A Role, and its rollout's id."""


@dataclass(frozen=True, slots=True)
class _Word:
    """One gateway's report, sorted by whom it concerns."""

    report: Observed
    pods: Mapping[Key, list[PodReport]]
    busy: frozenset[Revision]
    """Revisions with sessions, by their pods' count or by their own."""
    counts: Mapping[Revision, int]
    """Sessions of revisions."""
    warmed: frozenset[Warm]
    """Rollouts for which it has done its part."""
    roles: Mapping[Key, frozenset[object]]
    """What is said of each Role but for how many sessions there are."""

    @classmethod
    def of(cls, report: Observed) -> "_Word":
        pods: dict[Key, list[PodReport]] = defaultdict(list)
        roles: dict[Key, set[object]] = defaultdict(set)
        if not report.stale:  # from last good tables: no news of what pods there are
            for pod in report.pods:
                pods[pod.namespace, pod.role].append(pod)
                roles[pod.namespace, pod.role].add(replace(pod, sessions=min(1, pod.sessions)))
        busy = {(pod.namespace, pod.revision) for pod in report.pods if pod.sessions > 0}
        busy |= {(one.namespace, one.revision) for one in report.revisions if one.sessions > 0}
        counts = {(one.namespace, one.revision): one.sessions for one in report.revisions}
        for one in report.revisions:
            roles[one.namespace, one.role].add(replace(one, sessions=min(1, one.sessions)))
        warmed = frozenset(((one.namespace, one.role), one.rollout) for one in report.warmed)
        for key, rollout in warmed:
            roles[key].add(rollout)
        said_of = {key: frozenset(said) for key, said in roles.items()}
        return cls(report, pods, frozenset(busy), counts, warmed, said_of)

    def news(self, before: "_Word | None") -> Set[Key]:
        """Roles of which something else is said than before; a count that merely moved is no news."""
        then = before.roles if before else {}
        return {key for key in self.roles.keys() | then.keys() if self.roles.get(key) != then.get(key)}


class Sightings:
    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}
        self._silent_since: dict[str, datetime] = {}
        self._expected: Set[str] = frozenset()
        self._complete_since: datetime | None = None
        self._idle_since: dict[Revision, datetime] = {}
        self._busy: frozenset[Revision] = frozenset()
        self._moved: set[Key] = set()
        self._tallies = Tallies()

    @property
    def gateways(self) -> int:
        """How many report."""
        return len(self._words)

    @property
    def expected(self) -> int:
        """How many there are."""
        return len(self._expected)

    @property
    def complete(self) -> bool:
        """Whether every gateway reports: only then is a count a count."""
        return self._complete_since is not None

    @property
    def listening(self) -> bool:
        """Whether one of them says that clients can connect to it."""
        return any(word.report.listening for word in self._words.values())

    def expect(self, gateways: Set[str], now: datetime) -> Set[Key]:
        """These gateways exist now. Whom it concerns that others are gone, or silent for too long."""
        before, self._expected = self._expected, frozenset(gateways)
        waiting = {role for word in self._words.values() for role, _ in word.warmed} if before - gateways else set()
        for gone in self._words.keys() - self._expected:
            self._silent_since.setdefault(gone, now)
        return self._forget(now) | waiting

    def heard(self, gateway: str, report: Observed, now: datetime) -> Set[Key]:
        """Whom it concerns, where the report is news beside what this gateway said before."""
        before, listened = self._words.get(gateway), self.listening
        self._silent_since.pop(gateway, None)
        if before is not None and before.report == report:
            return frozenset()
        word = self._words[gateway] = _Word.of(report)
        self._count(now)
        self._moved |= self._tallies.heard(gateway, report)
        self._moved |= {
            (one.namespace, one.role)
            for one in report.revisions
            if before is None or before.counts.get((one.namespace, one.revision)) != one.sessions
        }
        return word.news(before) | self._concerned(listened)

    def missed(self, gateway: str, now: datetime) -> Set[Key]:
        """This gateway did not answer. Its word stands for a while."""
        self._silent_since.setdefault(gateway, now)
        return self._forget(now)

    def pods(self, key: Key) -> tuple[PodReport, ...]:
        """What they say of a Role's pods; of a pod that several see, every word."""
        found = [pod for word in self._words.values() for pod in word.pods.get(key, ())]
        return tuple(sorted(found, key=lambda pod: (pod.revision, pod.uid)))

    def rollouts(self, key: Key) -> dict[str, Told]:
        """What was said of a Role's rollouts since this operator listens, by rollout's id."""
        return self._tallies.of(key)

    def warmed(self, key: Key) -> dict[str, int]:
        """By rollout's id: how many of the gateways that there are did their part in warming this Role's."""
        there = [word for gateway, word in self._words.items() if gateway in self._expected]
        return Counter(rollout for word in there for role, rollout in word.warmed if role == key)

    def moved(self) -> Set[Key]:
        """Roles with more or fewer sessions than when this was asked last, however often that changed meanwhile."""
        moved, self._moved = self._moved, set()
        return moved

    def sessions(self, namespace: str, revisions: Iterable[str]) -> dict[str, int]:
        """How many these have, over all gateways. Empty unless every gateway reports."""
        if self._complete_since is None:
            return {}
        words = self._words.values()
        return {name: sum(word.counts.get((namespace, name), 0) for word in words) for name in revisions}

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
        forgotten, listened = set[Key](), self.listening
        for gateway, since in list(self._silent_since.items()):
            if now - since > GRACE:
                del self._silent_since[gateway]
                self._tallies.gone(gateway)
                if word := self._words.pop(gateway, None):
                    forgotten |= word.roles.keys()
        self._count(now)
        return forgotten | self._concerned(listened)

    def _concerned(self, listened: bool) -> Set[Key]:
        """Every Role, where it is news whether any gateway listens: each proof of a sandbox rests on that."""
        if self.listening == listened:
            return frozenset()
        return {key for word in self._words.values() for key in word.roles}

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
