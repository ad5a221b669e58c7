"""Every turn, held against its Role's own objectives and counted. Implements scores.Scores; exported as it is scraped.

    Attempt, Answering, edge ──▶ Judging ──▶ Book (a Role's turns), Trials (sessions of rollouts) ──▶ /metrics

What is gone stays to be seen for an hour: the target of a Role that was deleted, or of an objective that it has no more,
is NaN, so that alerts that join with it end; then all its series vanish, and so do those of revisions and rollouts. A
Role that nobody talks to here for a day takes no place; its first turn begins anew.
"""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from rolehost_api import jsonlog, slo
from rolehost_api.crd.role import Objective
from rolehost_api.errors import RolehostError
from rolehost_api.wire import Metrics
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.classifying import classify
from rolehost_runtime.gateway.sessions.exposing import families
from rolehost_runtime.gateway.sessions.metrics import outcome_of
from rolehost_runtime.gateway.sessions.tally import MAX_FORMER, NOWHERE, OTHER, Book
from rolehost_runtime.gateway.sessions.trials import Place, Trials
from rolehost_runtime.gateway.tables import RoleEntry, Tables, Tenant

GONE_SECONDS = 3600.0
"""What is gone is to be seen for so long."""
IDLE_SECONDS = 86_400.0
"""A Role without a turn for so long is let go of."""
MAX_ROLES = 20_000
"""Beyond them the Role that was heard of first makes room."""
DAY = 86_400


class Scored(Protocol):
    def __call__(self, role: RoleEntry, of: Assignment, *, bad: bool) -> None: ...


class Judging(Collector):
    def __init__(
        self, tables: Tables, registry: CollectorRegistry | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tables, self._clock = tables, clock
        self._books: dict[Place, Book] = {}
        self._gone: dict[tuple[str, ...], float] = {}
        """Since when a Role (place), an objective or a revision of one is not there any more."""
        self._heard: dict[Place, tuple[int, float]] = {}
        """By Role: how many turns it had when it was last seen to have more than before, and when."""
        self.trials = Trials(clock, self._names, self._session_scored)
        self.scored: Scored = lambda role, of, *, bad: None
        """Told how each session of a comparison fared, once."""
        self.forgotten: Callable[[str, str], None] = lambda tenant, role: None
        """Told of a Role of which nothing is counted any more."""
        tables.roles.listen(self._rang)
        if registry is not None:
            registry.register(self)

    # ── scores.Scores ───────────────────────────────────────────────────────────────

    def turn(
        self,
        role: RoleEntry,
        revision: str,
        outcome: str,
        metrics: Metrics,
        *,
        key: str,
        assignment: Assignment | None = None,
        asked: bool = True,
    ) -> None:
        place = (role.tenant.name, role.name)
        book = self._books.get(place) or self._open(place, role)
        turn = classify(book.rules, outcome, metrics.ttft_ms, metrics.total_ms, asked=asked)
        if turn.why:
            book.leave_out(turn.why)
        if not turn.was_one:
            return
        tally = book.tallies.get(revision) or book.tally(revision, self._live(place))
        traced = jsonlog.TRACE.get()
        book.count(tally, turn, metrics, None if traced is None else (traced[0], time.time()))
        if assignment is not None:
            self.trials.ended(place, key, assignment, book.rules.names, turn)

    def refused(self, tenant: Tenant, role_name: str, error: RolehostError) -> None:
        role = self._tables.roles.get(tenant.name, role_name)
        if role is not None:  # a name that nobody declared would be a free label
            self.turn(role, NOWHERE, outcome_of(error), Metrics(), key="")

    def assigned(self, role: RoleEntry, key: str, assignment: Assignment) -> None:
        self.trials.assigned((role.tenant.name, role.name), key, assignment)

    def asked(self, key: str) -> None:
        self.trials.asked(key)

    def answered(self, key: str) -> None:
        self.trials.answered(key)

    def _session_scored(self, place: Place, of: Assignment, bad: bool) -> None:
        role = self._tables.roles.get(*place)
        if role is not None:
            self.scored(role, of, bad=bad)

    # ── Roles come and go ───────────────────────────────────────────────────────────

    def _open(self, place: Place, role: RoleEntry) -> Book:
        if len(self._books) >= MAX_ROLES:
            self._forget(next(iter(self._books)))
        book = self._books[place] = Book(*_promises(self._tables.roles.get(*place) or role))
        self._rang(place)
        return book

    def _rang(self, key: tuple[str, ...]) -> None:
        """A Role was changed, came, or went."""
        place = (key[0], key[1])
        book, role = self._books.get(place), self._tables.roles.get(*place)
        if book is None:
            return
        if role is None:
            self._gone.setdefault(place, self._clock())
            return
        self._gone.pop(place, None)
        promises = _promises(role)
        if promises != (book.objectives, book.window):
            book.follow(*promises)
            for name in book.former():
                self._gone.setdefault((*place, "objective", name), self._clock())
            for name in sorted(book.former(), key=lambda one: self._gone[(*place, "objective", one)])[:-MAX_FORMER]:
                del self._gone[(*place, "objective", name)]
                book.drop(name)
        for name in book.rules.names:
            self._gone.pop((*place, "objective", name), None)

    def _names(self, place: Place) -> tuple[str, ...]:
        book = self._books.get(place)
        if book is not None:
            return book.rules.names
        role = self._tables.roles.get(*place)
        return tuple(one.name for one in slo.objectives(role.spec)) if role is not None else ()

    def _live(self, place: Place) -> set[str]:
        """Revisions that sessions open on, or leave just now."""
        role = self._tables.roles.get(*place)
        if role is None:
            return set()
        shares, leaving = role.traffic.shares, role.leaving
        return {role.stable, *(share.revision for share in shares), *(one.revision for one in leaving)}

    def sweep(self) -> None:
        """Close sessions that are due, and let go of what is gone for an hour."""
        now = self._clock()
        self.trials.advance()
        for place, book in tuple(self._books.items()):
            turns, since = self._heard.get(place, (-1, now))
            if turns != book.turns:
                self._heard[place] = (book.turns, now)
            elif now - since >= IDLE_SECONDS:
                self._forget(place)
                continue
            if self._is_over(place, place in self._gone, now):
                self._forget(place)
                continue
            for name in tuple(book.tallies):
                there = name in (NOWHERE, OTHER) or self._tables.revisions.get(place[0], name) is not None
                if self._is_over((*place, "revision", name), not there, now):
                    del book.tallies[name]
            for name in book.former():
                if self._is_over((*place, "objective", name), True, now):
                    book.drop(name)
        for place, groups in tuple(self.trials.counts.items()):
            role = self._tables.roles.get(*place)
            for group, counts in tuple(groups.items()):
                if role is not None and (role.traffic.rollout, role.traffic.epoch) == group:
                    counts.gone_at = None
                elif counts.gone_at is None:
                    counts.gone_at = now
                elif now - counts.gone_at >= GONE_SECONDS:
                    del groups[group]
            if not groups:
                del self.trials.counts[place]
        for place in [place for place in self._heard if place not in self._books]:
            del self._heard[place]

    def _is_over(self, what: tuple[str, ...], gone: bool, now: float) -> bool:
        """It has been gone for an hour; nothing is remembered of it then."""
        if not gone:
            self._gone.pop(what, None)
            return False
        if now - self._gone.setdefault(what, now) < GONE_SECONDS:
            return False
        del self._gone[what]
        return True

    def _forget(self, place: Place) -> None:
        del self._books[place]
        self.forgotten(*place)
        for what in [what for what in self._gone if what[:2] == place]:
            del self._gone[what]

    # ── Prometheus ──────────────────────────────────────────────────────────────────

    def describe(self) -> Iterable[Metric]:
        return families({}, (), {})

    def collect(self) -> Iterable[Metric]:
        self.sweep()
        return tuple(families(self._books, self._gone, self.trials.counts))


def _promises(role: RoleEntry) -> tuple[tuple[Objective, ...], int]:
    days = role.spec.slo.window_days if role.spec.slo else 28
    return slo.objectives(role.spec), days * DAY
