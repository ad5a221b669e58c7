"""Variants side by side, for as long as they are declared. What it is was settled when it began."""

from dataclasses import replace as redrawn

from msgspec.structs import replace

from rolehost_api.crd.rollout import Strategy, Variant
from rolehost_operator.plan import Note
from rolehost_operator.rollout import decisions, leaving
from rolehost_operator.rollout.holds import short_of_pods, warming_up, would_reset
from rolehost_operator.rollout.moves import begun, past
from rolehost_operator.rollout.naming import resolve
from rolehost_operator.rollout.scene import Draft, Hold, Scene
from rolehost_operator.rollout.table import Stage
from rolehost_operator.rollout.times import since, stamp
from rolehost_operator.rollout.words import ABORT, at_the_end, carried_out


def runs(draft: Draft) -> bool:
    return draft.rollout.strategy is Strategy.EXPERIMENT and draft.rollout.stage != Stage.IDLE.value


def resolved(scene: Scene, stable: str) -> tuple[tuple[Variant, ...], Hold | None]:
    """The declared variants by their revisions' names, or why they cannot be."""
    found: list[Variant] = []
    for one in scene.declared.variants:
        name = resolve(one.revision, scene.revisions.values())
        if not name:
            return (), Hold("VariantNotFound", f"no one revision is meant by {one.revision}; see kubectl get rhrev")
        if name == stable or name in [other.revision for other in found]:
            return (), Hold("VariantTwice", f"{one.revision} is {name}, which takes part already")
        found.append(replace(one, revision=name))
    return tuple(found), None


def step(scene: Scene, draft: Draft) -> tuple[Draft, Hold | None]:
    """One look at an experiment that runs, or is to begin."""
    if runs(draft):
        over = _over(scene, draft)
        if over:
            return _ended(scene, draft, *over), None
        return _goes_on(scene, draft)
    if not draft.stable or not wanted(scene):
        return draft, None
    variants, hold = resolved(scene, draft.stable)
    if hold or not variants or _ended_by_hand(draft, variants):
        return draft, hold
    return _goes_on(scene, begun(scene, draft, variants[0].revision, variants=variants))


def wanted(scene: Scene) -> bool:
    declared = scene.declared
    return declared.strategy is Strategy.EXPERIMENT and bool(declared.variants) and not declared.pinned_revision


def _ended_by_hand(draft: Draft, variants: tuple[Variant, ...]) -> bool:
    """The very same was given up: it does not begin again by itself."""
    rollout = draft.rollout
    return rollout.strategy is Strategy.EXPERIMENT and tuple(rollout.variants) == variants


def _over(scene: Scene, draft: Draft) -> tuple[str, str, str] | None:
    """Action, reason and message, where it ends now."""
    rollout = draft.rollout
    if carried_out(scene, rollout, ABORT):
        return "Aborted", "Aborted", "somebody ended it"
    if not wanted(scene):
        return "Finished", "Undeclared", "it is not declared any more"
    gone = next((one.revision for one in rollout.variants if one.revision not in scene.revisions), "")
    if gone or draft.stable != rollout.previous:
        return "Finished", "RevisionGone", f"{gone or rollout.previous} is not what it was"
    return None


def _goes_on(scene: Scene, draft: Draft) -> tuple[Draft, Hold | None]:
    rollout = draft.rollout
    if rollout.stage == Stage.PREPARING.value:
        if scene.declared.paused:
            return draft, Hold("Paused", "spec.rollout.paused: it does not begin", "Pause")
        for one in rollout.variants:
            seen = scene.revisions[one.revision]
            if hold := short_of_pods(scene, seen) or would_reset(scene, draft, seen):
                return draft, hold
        if cold := warming_up(scene, draft):
            return draft, cold
        at = stamp(scene.at)
        told = ", ".join(f"{one.revision} {one.percent} %" for one in rollout.variants)
        note = Note("Normal", "ExperimentStarted", f"rollout {rollout.id}: {told} of users; the others {draft.stable}")
        rollout = replace(
            rollout,
            stage=Stage.STEPPING.value,
            step=1,
            percent=sum(one.percent for one in rollout.variants),
            epoch=rollout.epoch + 1,
            step_started_at=at,
            progressed_at=at,
        )
        return redrawn(draft, rollout=rollout, notes=(*draft.notes, note)), None
    declared, _ = resolved(scene, draft.stable)
    if declared and list(declared) != rollout.variants:
        return draft, Hold("ImmutableWhileItRuns", "the variants stay as they were: take them away first to end it")
    return draft, None


def _ended(scene: Scene, draft: Draft, action: str, reason: str, message: str) -> Draft:
    rollout = draft.rollout
    said = decisions.decision(
        decisions.ABORT if action == "Aborted" else decisions.FINISH,
        scene.at,
        scene.judgement,
        reason=reason,
        message=f"the experiment ended: {message}",
        window=since(rollout.step_started_at, scene.at),
    )
    took_some = rollout.step > 0
    rollout = replace(rollout, stage=Stage.IDLE.value, percent=0, last_decision=said, obeyed=at_the_end(scene, rollout))
    if action != "Aborted":
        rollout = replace(rollout, variants=[])  # the same may be declared anew
    note = Note("Normal", "ExperimentEnded", f"rollout {rollout.id}: {message}")
    gone = draft.leaving
    for one in draft.rollout.variants if took_some else ():
        gone = leaving.with_one(gone, leaving.replaced(one.revision, scene.declared, scene.at, leaving.EXPERIMENT))
    made = redrawn(draft, rollout=rollout, leaving=gone, notes=(*draft.notes, note))
    return past(scene, made, action, reason, automatic=False)
