"""One session's score in a rollout's comparison: good or bad, once for each objective and stratum. Pure.

    assigned ──▶ turn 1 ends ──▶ its marks are `first`
                      ├─ turns 2 to 5 ──▶ `later`: bad with the first bad one, good when the session closes without one
                      └─ any of these ──▶ `whole`: likewise
    closes with its fifth turn, or when its horizon passes

A session counts from its assignment on, whatever becomes of its pod: who asked and has no answer when the horizon has
passed gets two minutes from the asking, and is bad then. One that said nothing by its horizon is neither good nor bad:
it was assigned, and that is all that is known. Turns that an objective leaves out do not score it; those that never
began (refused by a limit, invalid) do not take a place among the first five either.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rolehost_api.slo import BAD, FIRST, FIRST_TURNS, GOOD, HORIZON_SECONDS, LATER, WHOLE
from rolehost_runtime.core.classifying import LEFT_OUT, Classified

HANG_SECONDS = 120
"""From asking on, for who waits when the horizon passes."""


class Point(NamedTuple):
    """What a session adds to the counts."""

    objective: str
    stratum: str
    outcome: str


class Score:
    """Times are seconds of one clock that only goes forward."""

    __slots__ = ("_fine", "_horizon", "_scored", "_since", "_waiting", "closed", "turns", "until")

    def __init__(self, now: float) -> None:
        self.until = self._horizon = now + HORIZON_SECONDS
        """When it closes by itself, unless somebody waits then."""
        self.closed = False
        self.turns = 0
        self._waiting = 0
        """Messages that are not answered yet."""
        self._since = now
        """When the longest of them was said, or the one before it was answered."""
        self._scored: set[tuple[str, str]] = set()
        self._fine: dict[tuple[str, str], None] = {}
        """Objectives that were kept so far, in which stratum of those that more turns may still spoil."""

    def asked(self, now: float) -> None:
        """Somebody says something. What is said behind the horizon does not concern the score."""
        if now >= self._horizon:
            return
        if not self._waiting:
            self._since = now
        self._waiting += 1

    def answered(self, now: float) -> None:
        """That is over, whatever came of it."""
        self._waiting = max(0, self._waiting - 1)
        self._since = now

    def ended(self, now: float, names: Sequence[str], turn: Classified) -> list[Point]:
        """A turn ended that somebody had asked for, which is said before `answered`; `names` of the objectives, in the
        order of its marks.

        >>> score, good, bad = Score(0), Classified(("good",)), Classified(("bad",))
        >>> [tuple(point) for point in score.ended(5, ["works"], good)], score.ended(9, ["works"], good)
        ([('works', 'first', 'good')], [])
        >>> [tuple(point) for point in score.ended(12, ["works"], bad)]
        [('works', 'later', 'bad'), ('works', 'whole', 'bad')]
        """
        if self.closed or not turn.was_one or (now >= self._horizon and not self._waiting):
            return []
        self.turns += 1
        points: list[Point] = []
        for name, mark in zip(names, turn.marks, strict=True):
            if mark == LEFT_OUT:
                continue
            if self.turns == 1:
                self._add(points, Point(name, FIRST, mark))
            for stratum in (WHOLE,) if self.turns == 1 else (LATER, WHOLE):
                if mark == BAD:
                    self._add(points, Point(name, stratum, BAD))
                else:
                    self._fine[name, stratum] = None
        return points + self._close() if self.turns >= FIRST_TURNS else points

    def passed(self, now: float, names: Iterable[str]) -> list[Point]:
        """The time is `now`. Closes what is due; where that was put off, `until` says to when.

        >>> silent = Score(0)
        >>> silent.passed(120, ["works"]), silent.closed
        ([], True)
        >>> hung = Score(0)
        >>> hung.asked(90)
        >>> hung.passed(120, ["works"]), hung.until
        ([], 210)
        >>> [tuple(point) for point in hung.passed(210, ["works"])]
        [('works', 'first', 'bad'), ('works', 'whole', 'bad')]
        """
        if self.closed or now < self.until:
            return []
        if self._waiting and now < self._since + HANG_SECONDS:
            self.until = self._since + HANG_SECONDS
            return []
        points: list[Point] = []
        if self._waiting:
            for name in names:
                self._add(points, Point(name, LATER if self.turns else FIRST, BAD))
                self._add(points, Point(name, WHOLE, BAD))
        return points + self._close()

    def _close(self) -> list[Point]:
        self.closed = True
        points: list[Point] = []
        for name, stratum in self._fine:
            self._add(points, Point(name, stratum, GOOD))
        return points

    def _add(self, points: list[Point], point: Point) -> None:
        """Unless it has one of that objective and stratum."""
        if point[:2] not in self._scored:
            self._scored.add(point[:2])
            points.append(point)
