"""What each move makes of the status."""

from collections.abc import Callable, Mapping
from dataclasses import replace as redrawn
from types import MappingProxyType
from typing import Literal

from msgspec.structs import replace

from rolehost_api.crd.rollout import Counts, Leaving, Past, RolloutStatus, Variant
from rolehost_operator.plan import Note
from rolehost_operator.rollout import decisions, leaving
from rolehost_operator.rollout.confounders import confounders, models
from rolehost_operator.rollout.naming import attempt_id
from rolehost_operator.rollout.occasions import Happening
from rolehost_operator.rollout.scene import Draft, Scene
from rolehost_operator.rollout.table import Move, Occasion, Stage
from rolehost_operator.rollout.times import since, stamp
from rolehost_operator.rollout.verdict import Judgement
from rolehost_operator.rollout.waits import ROLLED_BACK, steps_of
from rolehost_operator.rollout.words import at_the_end

MOST_PAST = 10
PREVIOUS_PERCENT = 5
"""Of new sessions, while the earlier revision is kept for comparison."""

Carried = Callable[[Scene, Draft, Happening, Judgement | None], Draft]


def begun(scene: Scene, draft: Draft, revision: str, obeyed: str = "", variants: tuple[Variant, ...] = ()) -> Draft:
    """`obeyed`: the word that it begins by, where it would not by itself."""
    attempt, at = draft.rollout.attempt + 1, stamp(scene.at)
    rollout = RolloutStatus(
        id=attempt_id(scene.uid, revision, attempt, at),
        attempt=attempt,
        strategy=scene.declared.strategy,
        revision=revision,
        previous=draft.stable,
        stage=Stage.PREPARING.value,
        steps=0 if variants else len(steps_of(scene)),
        started_at=at,
        step_started_at=at,
        progressed_at=at,
        variants=list(variants),
        sessions=Counts(),
        obeyed=obeyed,
    )
    return _with(draft, rollout, note=Note("Normal", "RolloutStarted", f"rollout {rollout.id}: {revision} is prepared"))


def next_step(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    steps, step = steps_of(scene), draft.rollout.step
    if step >= len(steps):
        return _promoted(scene, draft, why, judgement)
    percent = steps[step].percent
    message = f"{draft.rollout.revision} takes {percent} % of new sessions: step {step + 1} of {len(steps)}"
    rollout = replace(
        _decided(scene, draft.rollout, decisions.ADVANCE, why, judgement, message),
        stage=Stage.STEPPING.value,
        step=step + 1,
        steps=len(steps),
        percent=percent,
        backends=models(scene, (draft.rollout.revision, draft.stable)),
        epoch=draft.rollout.epoch + 1,
        step_started_at=stamp(scene.at),
        progressed_at=stamp(scene.at),
    )
    return _with(draft, rollout, note=Note("Normal", "RolloutAdvanced", f"rollout {rollout.id}: {message}"))


def _promoted(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    revision, earlier = draft.rollout.revision, draft.stable
    message = f"{revision} is stable; {earlier} was before"
    rollout = replace(
        _decided(scene, draft.rollout, decisions.PROMOTE, why, judgement, message),
        stage=Stage.WATCHING.value,
        previous=earlier,
        percent=100 - PREVIOUS_PERCENT,
        backends=models(scene, (revision, earlier)),
        epoch=draft.rollout.epoch + 1,
        step_started_at=stamp(scene.at),
        progressed_at=stamp(scene.at),
    )
    note = Note("Normal", "RolloutPromoted", f"rollout {rollout.id}: {message}")
    made = redrawn(draft, stable=revision, rollout=rollout, notes=(*draft.notes, note))
    if scene.declared.watch_seconds:
        return made
    return finish(scene, made, Happening(Occasion.WATCHED, "Promoted", message), judgement)


def finish(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    """Promoted for good: the earlier revision's sessions go the way of spec.rollout.promotion."""
    revision, earlier = draft.rollout.revision, draft.rollout.previous
    message = f"{revision} is promoted" + (f": {why.message}" if why.message else "")
    rollout = _ended(scene, _decided(scene, draft.rollout, decisions.FINISH, why, judgement, message), percent=100)
    made = _with(draft, rollout, note=Note("Normal", "RolloutFinished", f"rollout {rollout.id}: {message}"))
    made = past(scene, made, "Promoted", why.reason, automatic=not why.obeyed)
    return _leave(made, leaving.replaced(earlier, scene.declared, scene.at)) if earlier != made.stable else made


def stop(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    message = (
        f"{why.message}: {draft.rollout.revision} takes no new sessions and nobody is moved; "
        "`rolehost rollout promote` or `abort`"
    )
    rollout = replace(
        _decided(scene, draft.rollout, decisions.PAUSE, why, judgement, message), stage=Stage.STOPPED.value, percent=0
    )
    return _with(draft, rollout, note=Note("Warning", "RolloutStopped", f"rollout {rollout.id}: {message}"))


def roll_back(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    return _given_up(scene, draft, why, judgement, decisions.ROLLBACK, ROLLED_BACK, automatic=True)


def give_up(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    if why.occasion is Occasion.REPLACED:
        return _given_up(scene, draft, why, None, decisions.FINISH, "Superseded", automatic=False)
    failed = why.occasion is Occasion.GATE_FAILED
    return _given_up(scene, draft, why, judgement, decisions.ABORT, "Aborted", automatic=failed)


def revert(scene: Scene, draft: Draft, why: Happening, judgement: Judgement | None) -> Draft:
    back = redrawn(draft, stable=draft.rollout.previous)
    if why.occasion is Occasion.ABORT:
        return _given_up(scene, back, why, judgement, decisions.ABORT, ROLLED_BACK, automatic=False)
    return _given_up(scene, back, why, judgement, decisions.ROLLBACK, ROLLED_BACK, automatic=True)


def _given_up(
    scene: Scene,
    draft: Draft,
    why: Happening,
    judgement: Judgement | None,
    action: str,
    end: str,
    *,
    automatic: bool,
) -> Draft:
    revision = draft.rollout.revision
    message = f"{revision} is given up, {draft.stable} is stable: {why.message}"
    rollout = _ended(scene, _decided(scene, draft.rollout, action, why, judgement, message), percent=0)
    kind: Literal["Normal", "Warning"] = "Normal" if end == "Superseded" else "Warning"
    reason = {ROLLED_BACK: "RolloutRolledBack", "Aborted": "RolloutAborted"}.get(end, "RolloutSuperseded")
    made = _with(draft, rollout, note=Note(kind, reason, f"rollout {rollout.id}: {message}"))
    made = past(scene, made, end, why.reason, automatic=automatic)
    took_some = draft.rollout.step > 0 and revision in scene.revisions
    return _leave(made, leaving.rolled_back(revision, scene.declared, scene.at)) if took_some else made


MOVES: Mapping[Move, Carried] = MappingProxyType(
    {
        Move.NEXT_STEP: next_step,
        Move.STOP: stop,
        Move.ROLL_BACK: roll_back,
        Move.GIVE_UP: give_up,
        Move.REVERT: revert,
        Move.FINISH: finish,
    }
)


def _decided(
    scene: Scene, rollout: RolloutStatus, action: str, why: Happening, judgement: Judgement | None, message: str
) -> RolloutStatus:
    window = since(rollout.step_started_at, scene.at)
    said = decisions.decision(
        action,
        scene.at,
        judgement,
        reason=why.reason,
        message=message,
        window=window,
        confounders=confounders(scene, rollout, rollout.previous),
    )
    return replace(rollout, last_decision=said, obeyed=why.obeyed or rollout.obeyed)


def _ended(scene: Scene, rollout: RolloutStatus, percent: int) -> RolloutStatus:
    return replace(rollout, stage=Stage.IDLE.value, percent=percent, obeyed=at_the_end(scene, rollout))


def _with(draft: Draft, rollout: RolloutStatus, note: Note) -> Draft:
    return redrawn(draft, rollout=rollout, notes=(*draft.notes, note))


def _leave(draft: Draft, one: Leaving) -> Draft:
    return redrawn(draft, leaving=leaving.with_one(draft.leaving, one))


def cut(history: tuple[Past, ...]) -> tuple[Past, ...]:
    """The newest ten; but what was rolled back by itself is remembered longest, for that happens to a revision once.

    >>> bad = Past(revision="bad", action="RolledBack", at="", automatic=True)
    >>> others = tuple(Past(revision=str(number), action="Promoted", at="") for number in range(12))
    >>> [one.revision for one in cut((*others, bad))]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', 'bad']
    """
    kept = list(history)
    while len(kept) > MOST_PAST:
        others = [number for number, one in enumerate(kept) if not (one.automatic and one.action == ROLLED_BACK)]
        del kept[others[-1] if others and others[-1] > 0 else -1]
    return tuple(kept)


def past(scene: Scene, draft: Draft, action: str, reason: str, *, automatic: bool) -> Draft:
    rollout = draft.rollout
    past = Past(revision=rollout.revision, action=action, at=stamp(scene.at), reason=reason[:64], automatic=automatic)
    return redrawn(draft, history=cut((past, *draft.history)))
