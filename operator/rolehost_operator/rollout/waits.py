"""How long until something about a rollout passes by itself, and which steps it has."""

from datetime import timedelta

from rolehost_api.crd.rollout import WARM_UP_WAIT_SECONDS, Past, Step
from rolehost_operator.rollout.scene import Draft, Scene
from rolehost_operator.rollout.table import Stage
from rolehost_operator.rollout.times import NONE, left, since

WARM_UP_WAIT = timedelta(seconds=WARM_UP_WAIT_SECONDS)
ROLLED_BACK = "RolledBack"
"""Of the history: what became of a revision that was worse."""


def steps_of(scene: Scene) -> tuple[Step, ...]:
    return scene.declared.ladder


def rolled_back_before(history: tuple[Past, ...], revision: str) -> bool:
    return any(one.automatic and one.action == ROLLED_BACK and one.revision == revision for one in history)


def pause(scene: Scene, draft: Draft) -> int:
    return scene.declared.pause_of(draft.rollout.step)


def pause_in(scene: Scene, draft: Draft) -> timedelta:
    """Until the step may end."""
    return left(draft.rollout.step_started_at, pause(scene, draft), scene.at)


def cooldown_in(scene: Scene, draft: Draft) -> timedelta:
    """Until a rollout may begin by itself again."""
    last = _rolled_back_last(draft)
    return left(last.at, scene.declared.cooldown_seconds, scene.at) if last else NONE


def warm_in(scene: Scene, draft: Draft) -> timedelta:
    """So long gateways are waited for at most that have not warmed it yet; not at all where nothing is to be warmed."""
    if scene.warmth.done or not scene.declared.warm_up.turns:
        return NONE
    since_when = draft.rollout.warming_since
    return left(since_when, WARM_UP_WAIT_SECONDS, scene.at) if since_when else WARM_UP_WAIT


def deadline_in(scene: Scene, draft: Draft) -> timedelta:
    """Until it has not got on for too long. Neither a cooldown nor a warm-up counts, nor the time that a step lasts at least."""
    rollout = draft.rollout
    waited = since(rollout.progressed_at, scene.at)
    if rollout.stage == Stage.STEPPING.value:
        waited = max(NONE, waited - timedelta(seconds=pause(scene, draft)))
    elif last := _rolled_back_last(draft):
        over = since(last.at, scene.at) - timedelta(seconds=scene.declared.cooldown_seconds)
        waited = min(waited, max(NONE, over))
    if rollout.stage == Stage.PREPARING.value:
        waited = max(NONE, waited - min(since(rollout.warming_since, scene.at), WARM_UP_WAIT))
    return timedelta(seconds=scene.declared.progress_deadline_seconds) - waited


def _rolled_back_last(draft: Draft) -> Past | None:
    return next((one for one in draft.history if one.automatic and one.action == ROLLED_BACK), None)
