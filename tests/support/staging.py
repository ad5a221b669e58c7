"""A Role whose revisions earn their traffic, out of a few words: for tests of the rollout engine."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rolehost_api.crd.role import RoleStatus
from rolehost_api.crd.rollout import Rollout, RolloutStatus
from rolehost_operator.rollout.engine import step
from rolehost_operator.rollout.scene import Outcome, Runs, Scene
from rolehost_operator.rollout.verdict import Judgement, Verdict

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HEALTHY = Judgement(Verdict.HEALTHY, "NoWorse", "no worse", samples=60)
WORSE = Judgement(
    Verdict.UNHEALTHY, "WorseThanStable", "14 of 60 were bad", "turn-success/whole", "14 of 60", "4 of 99"
)
WAITING = Judgement(Verdict.UNKNOWN, "WaitingForSessions", "3 of 50 sessions", samples=3, samples_expected=47)


def declared(**spec: Any) -> Rollout:
    return msgspec.convert({"strategy": "Progressive", **spec}, Rollout)


def revision(name: str, number: int, **given: Any) -> Runs:
    return Runs(**{"name": name, "sequence": number, "digest": name * 8, "serving": True, "ready": 2, **given})


def runs(*given: Runs) -> dict[str, Runs]:
    return {one.name: one for one in given}


def stable(name: str = "old", **status: Any) -> RoleStatus:
    return RoleStatus(stable_revision=name, latest_ready_revision=name, **status)


def scene(**given: Any) -> Scene:
    """Stable is `old`; the template is that of `new`."""
    start: dict[str, Any] = {
        "uid": "role-uid",
        "declared": declared(),
        "status": stable(),
        "latest": "new",
        "at": NOON,
        "revisions": runs(revision("old", 1), revision("new", 2)),
    }
    return Scene(**{**start, **given})


def told(status: RoleStatus, outcome: Outcome) -> RoleStatus:
    """The status once `outcome` was written."""
    return msgspec.structs.replace(
        status,
        stable_revision=outcome.stable,
        canary_revision=outcome.canary,
        traffic=list(outcome.traffic),
        leaving=list(outcome.leaving),
        rollout=outcome.rollout,
        history=list(outcome.history),
    )


@dataclass
class Pilot:
    """Looks again and again, with whatever is changed in between. Each look is written, and read by the next."""

    seen: Scene = field(default_factory=scene)
    events: list[str] = field(default_factory=list)

    def look(self, judgement: Judgement | None = None, later: float = 0, **changed: Any) -> Outcome:
        self.seen = replace(self.seen, at=self.seen.at + timedelta(seconds=later), judgement=judgement, **changed)
        outcome = step(self.seen)
        self.events += [note.reason for note in outcome.notes]
        before, self.seen = self.seen, replace(self.seen, status=told(self.seen.status, outcome))
        self._again(before)
        return outcome

    def _again(self, before: Scene) -> None:
        """The same step on what it made changes nothing. Of another epoch nothing was counted yet."""
        epochs = [
            one.status.rollout and (one.status.rollout.id, one.status.rollout.epoch) for one in (before, self.seen)
        ]
        same = self.seen if epochs[0] == epochs[1] else replace(self.seen, judgement=None)
        again = step(same)
        assert told(self.seen.status, again) == self.seen.status
        assert again.notes == ()

    @property
    def rollout(self) -> RolloutStatus:
        assert self.seen.status.rollout is not None
        return self.seen.status.rollout

    @property
    def stage(self) -> tuple[str, int, int]:
        return self.rollout.stage, self.rollout.step, self.rollout.percent

    def to_step(self, number: int) -> "Pilot":
        """Begun, and healthy until this step."""
        self.look()
        while self.rollout.step < number:
            self.look(HEALTHY, later=200)
        return self

    def promoted(self) -> "Pilot":
        while self.rollout.stage != "Watching" if self.seen.status.rollout else True:
            self.look(HEALTHY, later=200)
        return self
