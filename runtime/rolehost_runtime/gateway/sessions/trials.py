"""Sessions that rollouts assigned: which are being scored, and what they came to. Plain numbers and one heap; no task.

Nobody waits for a session whose horizon has passed: it is closed with the next thing that is told, and no later than
when somebody looks at the counts.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rolehost_api.slo import ANONYMOUS, ASSIGNED, BAD, USER
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.classifying import Classified
from rolehost_runtime.core.scoring import Point, Score

MAX_SCORED = 65_536
"""Sessions that are scored at once. Beyond them sessions are not counted at all, on either side."""
MAX_GROUPS = 8
"""Of one Role: rollouts, and starts of their evidence, of which counts are kept."""
MAX_ROLES = 20_000
"""Of which there are any; the one that began to have some first makes room."""

Place = tuple[str, str]
"""Tenant and Role."""
Labels = tuple[str, ...]
Group = tuple[str, int]
"""A rollout and an epoch of its evidence."""
Scored = Callable[[Place, Assignment, bool], None]


@dataclass(slots=True)
class Counts:
    """Of one rollout and one epoch."""

    sessions: dict[Labels, int] = field(default_factory=dict)
    """By revision, arm, percent, known, objective, stratum, outcome."""
    turns: dict[Labels, int] = field(default_factory=dict)
    """By revision, arm, percent."""
    gone_at: float | None = None
    """Since when the Role's status speaks of another one."""


@dataclass(slots=True)
class Trial:
    """A session that is being scored."""

    place: Place
    assignment: Assignment
    score: Score
    bad: bool = False


class Trials:
    def __init__(
        self,
        clock: Callable[[], float],
        names: Callable[[Place], Sequence[str]],
        scored: Scored,
        *,
        most: int = MAX_SCORED,
    ) -> None:
        """`names` of a Role's objectives. `scored` is told once of each session whether it was bad, by any of them."""
        self._clock, self._names, self._scored, self._most = clock, names, scored, most
        self.counts: dict[Place, dict[Group, Counts]] = {}
        self._open: dict[str, Trial] = {}
        """By session."""
        self._due: list[tuple[float, int, str, Trial]] = []
        self._number = 0

    def assigned(self, place: Place, key: str, assignment: Assignment) -> None:
        """Said once for each unit, rollout and epoch; a session that is given another side begins anew."""
        self.advance()
        if len(self._open) >= self._most and key not in self._open:
            return
        trial = self._open[key] = Trial(place, assignment, Score(self._clock()))
        self._push(key, trial)
        self._add(trial, Point("", "", ASSIGNED))

    def asked(self, key: str) -> None:
        trial = self._open.get(key)
        if trial is not None:
            trial.score.asked(self._clock())

    def answered(self, key: str) -> None:
        trial = self._open.get(key)
        if trial is not None:
            trial.score.answered(self._clock())

    def ended(self, place: Place, key: str, assignment: Assignment, names: Sequence[str], turn: Classified) -> None:
        """A turn of an assigned session ended that somebody had asked for, and that was one."""
        turns = self._counts(place, assignment).turns
        labels = (assignment.revision, assignment.arm.value, str(assignment.percent))
        turns[labels] = turns.get(labels, 0) + 1
        trial = self._open.get(key)
        if trial is None or trial.assignment != assignment:
            return
        self._add_all(trial, trial.score.ended(self._clock(), names, turn))
        if trial.score.closed:
            del self._open[key]

    def advance(self) -> None:
        """Close what is due."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            *_, key, trial = heapq.heappop(self._due)
            self._add_all(trial, trial.score.passed(now, self._names(trial.place)))
            if not trial.score.closed:
                self._push(key, trial)
            elif self._open.get(key) is trial:
                del self._open[key]

    def _push(self, key: str, trial: Trial) -> None:
        self._number += 1
        heapq.heappush(self._due, (trial.score.until, self._number, key, trial))

    def _add_all(self, trial: Trial, points: Sequence[Point]) -> None:
        for point in points:
            self._add(trial, point)
        if trial.bad or not points:
            return
        trial.bad = any(point.outcome == BAD for point in points)
        if trial.bad or trial.score.closed:
            self._scored(trial.place, trial.assignment, trial.bad)

    def _add(self, trial: Trial, point: Point) -> None:
        one = trial.assignment
        sessions = self._counts(trial.place, one).sessions
        known = USER if one.known else ANONYMOUS
        labels = (one.revision, one.arm.value, str(one.percent), known, *point)
        sessions[labels] = sessions.get(labels, 0) + 1

    def _counts(self, place: Place, assignment: Assignment) -> Counts:
        if place not in self.counts and len(self.counts) >= MAX_ROLES:
            del self.counts[next(iter(self.counts))]
        groups = self.counts.setdefault(place, {})
        group = (assignment.rollout, assignment.epoch)
        found = groups.get(group)
        if found is None:
            if len(groups) >= MAX_GROUPS:
                del groups[min(groups, key=lambda one: (groups[one].gone_at is None, groups[one].gone_at or 0.0))]
            found = groups[group] = Counts()
        return found
