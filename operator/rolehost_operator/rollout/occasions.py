"""What happens to a rollout now. Where nothing does, `holds` says why."""

from collections.abc import Iterator
from dataclasses import dataclass

from rolehost_api.crd.rollout import Strategy
from rolehost_operator.rollout.holds import GONE, hold
from rolehost_operator.rollout.naming import resolve
from rolehost_operator.rollout.scene import Draft, Runs, Scene
from rolehost_operator.rollout.table import Occasion, Stage
from rolehost_operator.rollout.times import NONE, left
from rolehost_operator.rollout.verdict import Judgement, Verdict
from rolehost_operator.rollout.waits import deadline_in, rolled_back_before
from rolehost_operator.rollout.words import ABORT, PROMOTE, carried_out

STEPWISE = (Strategy.PROGRESSIVE, Strategy.MANUAL)
FAILED = "Failed"
PINNED, NEW_REVISION, STABLE_AGAIN, OTHER_STRATEGY = "PinnedRevision", "NewRevision", "StableAgain", "StrategyChanged"


@dataclass(frozen=True, slots=True)
class Happening:
    """An occasion, and what is to be said of it."""

    occasion: Occasion
    reason: str = ""
    message: str = ""
    obeyed: str = ""
    """The word that it carries out."""


def happening(scene: Scene, draft: Draft, judgement: Judgement | None) -> Happening | None:
    """Of a stepwise rollout that goes on. None: nothing; `hold` says why."""
    stage = Stage(draft.rollout.stage)
    if stage is Stage.WATCHING:
        return next(_while_watched(scene, draft, judgement), None)
    return next(_while_earning(scene, draft, judgement, stage), None)


def _while_earning(scene: Scene, draft: Draft, judgement: Judgement | None, stage: Stage) -> Iterator[Happening]:
    rollout = draft.rollout
    candidate = scene.revisions.get(rollout.revision)
    if reason := _replaced(scene, draft, candidate):
        yield Happening(Occasion.REPLACED, *reason)
    if candidate is None:
        return
    if word := carried_out(scene, rollout, ABORT):
        yield Happening(Occasion.ABORT, "Aborted", "somebody gave it up", word)
    if failed := _gates(scene, candidate, FAILED):
        yield Happening(Occasion.GATE_FAILED, "GateFailed", f"the gate {failed[0]} says Failed")
    if stage is Stage.STEPPING and (worse := _worse(candidate, judgement)):
        again = rolled_back_before(draft.history, rollout.revision)
        yield Happening(Occasion.WORSE_AGAIN if again else Occasion.UNHEALTHY, *worse)
    if candidate.serving and (word := carried_out(scene, rollout, PROMOTE)):
        yield Happening(Occasion.PROMOTE, "Promoted", "somebody ended the step", word)
    if scene.declared.paused or stage is Stage.STOPPED:
        return
    if deadline_in(scene, draft) <= NONE:
        said = f"it did not get on for {scene.declared.progress_deadline_seconds} s"
        yield Happening(Occasion.OVERDUE, "ProgressDeadlineExceeded", said)
    if hold(scene, draft, judgement) is None:
        prepared = Happening(Occasion.PREPARED, "Prepared", "pods, gates and a way back are there")
        yield prepared if stage is Stage.PREPARING else Happening(Occasion.HEALTHY)


def _worse(candidate: Runs, judgement: Judgement | None) -> tuple[str, str] | None:
    """A sandbox that is none is worse than anything that may be counted."""
    if candidate.breached and candidate.fault:
        return candidate.fault
    if judgement and judgement.verdict is Verdict.UNHEALTHY:
        return judgement.reason, judgement.message
    return None


def _while_watched(scene: Scene, draft: Draft, judgement: Judgement | None) -> Iterator[Happening]:
    rollout, declared = draft.rollout, scene.declared
    if rollout.previous not in scene.revisions:
        yield Happening(Occasion.MOVED_ON, GONE, f"{rollout.previous} is gone")
        return
    if pinned := resolve(declared.pinned_revision, scene.revisions.values()):
        yield Happening(Occasion.MOVED_ON, PINNED, f"all new sessions are to go to {pinned}")
    if declared.strategy not in STEPWISE:
        yield Happening(Occasion.MOVED_ON, OTHER_STRATEGY, f"the strategy is {declared.strategy.value} now")
    if draft.stable != rollout.revision or scene.latest not in ("", rollout.revision):
        yield Happening(Occasion.MOVED_ON, NEW_REVISION, f"{scene.latest or draft.stable} is wanted now")
    if word := carried_out(scene, rollout, ABORT):
        yield Happening(Occasion.ABORT, "Aborted", "somebody gave it up", word)
    worse = judgement is not None and judgement.verdict is Verdict.UNHEALTHY
    if judgement and worse and not rolled_back_before(draft.history, rollout.revision):
        yield Happening(Occasion.UNHEALTHY, judgement.reason, judgement.message)
    if word := carried_out(scene, rollout, PROMOTE):
        yield Happening(Occasion.WATCHED, "Promoted", "somebody ended the watch", word)
    if declared.paused:
        return
    seconds = declared.watch_seconds + (declared.progress_deadline_seconds if worse else 0)
    if left(rollout.step_started_at, seconds, scene.at) <= NONE:
        yield Happening(Occasion.WATCHED, "Watched", f"{rollout.revision} was watched for {declared.watch_seconds} s")


def _replaced(scene: Scene, draft: Draft, candidate: Runs | None) -> tuple[str, str] | None:
    declared, name = scene.declared, draft.rollout.revision
    if candidate is None:
        return GONE, f"{name} is gone"
    if pinned := resolve(declared.pinned_revision, scene.revisions.values()):
        return PINNED, f"all new sessions are to go to {pinned}"
    if declared.strategy not in STEPWISE:
        return OTHER_STRATEGY, f"the strategy is {declared.strategy.value} now"
    if draft.stable == name or (scene.latest and scene.latest == draft.stable):
        return STABLE_AGAIN, f"the template is that of {draft.stable} again"
    if scene.latest and scene.latest != name:
        return NEW_REVISION, f"{scene.latest} is wanted now"
    return None


def _gates(scene: Scene, candidate: Runs, word: str) -> list[str]:
    return [gate.name for gate in scene.declared.analysis.gates if candidate.gates.get(gate.name) == word]
