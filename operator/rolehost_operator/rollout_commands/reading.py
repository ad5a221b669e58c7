"""What a Role's object says of its rollout, as whoever is woken by it has to know it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

import msgspec

from rolehost_api.crd.common import ObjectMeta
from rolehost_api.crd.role import RoleSpec, RoleStatus
from rolehost_api.crd.rollout import Past, RolloutStatus
from rolehost_api.errors import BadRequest, Conflict, NotFound
from rolehost_operator.rollout.times import moment, since
from rolehost_operator.rollout.words import place

UNDONE = frozenset({"RolledBack", "Aborted"})


class Exit(IntEnum):
    """For scripts. 1 is an error, 2 a wrong call."""

    GOOD = 0
    """It goes on and nothing is wrong, or it ended well, or nothing goes on."""
    ROLLED_BACK = 3
    """The newest revision was given up, by itself or by somebody."""
    HELD = 4
    """It does not get on without a person: stopped, paused, or waiting for `promote`."""


class NoRole(NotFound):
    """There is no such Role in that namespace."""

    code = "no_role"


class NoRollout(NotFound):
    """Nothing goes on that could be told anything."""

    code = "no_rollout"


class MovedOn(Conflict):
    """The rollout that was meant is not the one that goes on."""

    code = "rollout_moved_on"


class NothingToUndo(NotFound):
    """There is no earlier revision."""

    code = "nothing_to_undo"


class Unreadable(BadRequest):
    """The Role is of a newer or older platform than this command."""

    code = "unreadable_role"


@dataclass(frozen=True, slots=True)
class Picture:
    """A Role, with what of its rollout is declared and what is so."""

    meta: ObjectMeta
    spec: RoleSpec
    status: RoleStatus

    @property
    def rollout(self) -> RolloutStatus:
        """An empty one where there never was any."""
        return self.status.rollout or RolloutStatus()

    @property
    def goes_on(self) -> bool:
        return bool(self.rollout.stage)

    @property
    def last(self) -> Past | None:
        """The one that ended last, if that is the one that the status speaks of."""
        past = self.status.history[0] if self.status.history else None
        return past if past and not self.goes_on and past.revision == self.rollout.revision else None

    @property
    def shares(self) -> dict[str, int]:
        """New sessions by revision, in percent; all to the stable one where nothing else is said."""
        shares: dict[str, int] = {}
        for one in self.status.traffic:
            shares[one.revision] = shares.get(one.revision, 0) + one.percent
        rest = 100 - sum(shares.values())
        if self.status.stable_revision and rest > 0:
            shares[self.status.stable_revision] = shares.get(self.status.stable_revision, 0) + rest
        return shares

    @property
    def held(self) -> str:
        """By what a person has to do, in a sentence; empty where nothing of the kind is so."""
        declared, name = self.spec.rollout, self.meta.name
        if declared.paused and self.goes_on:
            return f"it is paused: rolehost rollout resume {name}"
        if self.rollout.stage == "Stopped":
            return f"it takes no new sessions until somebody decides: rolehost rollout promote {name}, or abort"
        decision = self.rollout.last_decision
        if decision and self.goes_on and decision.reason in ("AwaitingPromotion", "GatesPending"):
            return decision.message
        return ""

    def exit(self) -> Exit:
        undone = self.last is not None and self.last.action in UNDONE
        if undone or any(one.reason == "rollback" for one in self.status.leaving):
            return Exit.ROLLED_BACK
        return Exit.HELD if self.held else Exit.GOOD

    def over(self) -> bool:
        """Whether watching it brings nothing more, until somebody does something."""
        return not self.goes_on or self.rollout.stage == "Stopped"

    def deadline_in(self, now: datetime) -> float | None:
        """Seconds until it stops by itself, as far as this machine's clock is right; None where it does not."""
        if self.rollout.stage not in ("Preparing", "Stepping") or self.spec.rollout.paused:
            return None
        gone = seconds_since(self.rollout.progressed_at, now)
        return None if gone is None else max(0.0, self.spec.rollout.progress_deadline_seconds - gone)

    def step_over_in(self, now: datetime) -> float | None:
        """Seconds that the step lasts at least; None where no step goes on."""
        rollout = self.rollout
        steps = self.spec.rollout.ladder
        gone = seconds_since(rollout.step_started_at, now)
        if rollout.stage != "Stepping" or not 0 < rollout.step <= len(steps) or gone is None:
            return None
        return max(0.0, steps[rollout.step - 1].pause_seconds - gone)


def picture(raw: Mapping[str, Any]) -> Picture:
    """Raises Unreadable."""
    try:
        return Picture(
            msgspec.convert(raw.get("metadata", {}), ObjectMeta),
            msgspec.convert(raw.get("spec", {}), RoleSpec),
            msgspec.convert(raw.get("status") or {}, RoleStatus),
        )
    except msgspec.ValidationError as error:
        raise Unreadable(
            f"the Role cannot be read: {error}", hint="Is this command of the platform's version"
        ) from None


def word_for(one: Picture, wanted: str, *, ended: bool) -> str:
    """The value of an annotation for what goes on now: the rollout's id, and the place that it is at.

    With `ended` a rollout that is over may be told something too: it begins again. Raises NoRollout, MovedOn.
    """
    rollout, name = one.rollout, one.meta.name
    if not rollout.id or (not one.goes_on and not ended):
        raise NoRollout(f"no rollout of {name} goes on", hint=f"See rolehost rollout status {name}")
    if wanted and wanted != rollout.id:
        raise MovedOn(
            f"{name} is at rollout {rollout.id}, not at {wanted}",
            hint=f"Look at it first: rolehost rollout status {name}. Nothing was done",
        )
    return f"{rollout.id}/{place(rollout)}"


def earlier(one: Picture, revisions: Iterable[Mapping[str, Any]]) -> str:
    """The revision that new sessions had before. `revisions`: the Role's RoleRevisions. Raises NothingToUndo.

    While a new one earns its traffic that is the stable one; else the one before the stable one.
    """
    stable, rollout = one.status.stable_revision, one.rollout
    there = {str(raw["metadata"]["name"]): int(raw["spec"].get("sequence", 0)) for raw in revisions}
    if rollout.stage in ("Preparing", "Stepping", "Stopped") and stable in there:
        return stable
    if rollout.revision == stable and rollout.previous in there and rollout.previous != stable:
        return rollout.previous
    before = [name for name, number in there.items() if number < there.get(stable, 0)]
    if not before:
        raise NothingToUndo(
            f"no revision of {one.meta.name} from before {stable or 'now'} is kept",
            hint="Apply the earlier manifest again: what was there once comes back as it was",
        )
    return max(before, key=lambda name: there[name])


def seconds_since(at: str, now: datetime) -> float | None:
    """None for what is no time; never negative.

    >>> from datetime import UTC
    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> seconds_since("2030-01-01T11:59:00Z", noon), seconds_since("", noon)
    (60.0, None)
    """
    return since(at, now).total_seconds() if moment(at) else None
