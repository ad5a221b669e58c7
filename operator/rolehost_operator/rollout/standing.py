"""Who is stable whatever a rollout says, and which rollout is to begin."""

from dataclasses import replace as redrawn

from rolehost_api.crd.rollout import Strategy
from rolehost_operator.rollout import experiment, leaving
from rolehost_operator.rollout.holds import PAUSED, unknown_pin
from rolehost_operator.rollout.moves import begun
from rolehost_operator.rollout.naming import resolve
from rolehost_operator.rollout.occasions import FAILED, STEPWISE
from rolehost_operator.rollout.scene import Draft, Hold, Runs, Scene
from rolehost_operator.rollout.table import Stage
from rolehost_operator.rollout.words import AGAIN, PROMOTE, carried_out, noted

EVALS_AGAIN = "GateFailed"


def idle(draft: Draft) -> bool:
    return draft.rollout.stage == Stage.IDLE.value


def settled(scene: Scene, draft: Draft) -> tuple[Draft, Hold | None]:
    """Who is stable whatever a rollout may say, and a rollout begun where one is due."""
    draft, held = _stable(scene, draft)
    if experiment.runs(draft) or (idle(draft) and experiment.wanted(scene)):
        before = draft
        draft, said = experiment.step(scene, draft)
        if experiment.runs(draft) or not experiment.runs(before):
            return draft, held or said
        return settled(scene, draft)
    if idle(draft) and held is None:
        draft = _begun(scene, draft)
    return draft, held


def _stable(scene: Scene, draft: Draft) -> tuple[Draft, Hold | None]:
    """The first revision ever; the pinned one; with AllAtOnce the newest as soon as it serves; where the stable one is
    gone, the newest that serves."""
    declared, known = scene.declared, scene.revisions
    if declared.pinned_revision:
        if unknown := unknown_pin(scene):
            return _fallback(scene, draft), unknown
        pinned = resolve(declared.pinned_revision, known.values())
        if known[pinned].serving and draft.stable != pinned and idle(draft):
            draft = _directly(scene, draft, pinned)
        if draft.stable == pinned:
            return draft, Hold("Pinned", f"all new sessions go to {pinned}: spec.rollout.pinnedRevision")
        return _fallback(scene, draft), Hold("WaitingForPods", f"{pinned} is pinned and does not serve yet")
    at_once = declared.strategy is Strategy.ALL_AT_ONCE and idle(draft) and _serves(scene, scene.latest)
    if at_once and declared.paused and draft.stable in known and draft.stable != scene.latest:
        return draft, Hold(PAUSED, f"spec.rollout.paused: {scene.latest} is Ready and waits")
    if at_once:
        return _directly(scene, draft, scene.latest), None
    return _fallback(scene, draft), None


def _serves(scene: Scene, name: str) -> bool:
    return name in scene.revisions and scene.revisions[name].serving


def _directly(scene: Scene, draft: Draft, name: str) -> Draft:
    earlier = draft.stable
    if earlier == name:
        return draft
    gone = draft.leaving
    if earlier in scene.revisions:
        gone = leaving.with_one(gone, leaving.replaced(earlier, scene.declared, scene.at))
    return redrawn(draft, stable=name, leaving=gone)


def _fallback(scene: Scene, draft: Draft) -> Draft:
    if draft.stable in scene.revisions:
        return draft
    newest_first = sorted(scene.revisions.values(), key=lambda one: -one.sequence)
    serving = [one.name for one in newest_first if one.serving]
    chosen = scene.latest if scene.latest in serving else next(iter(serving), "")
    return redrawn(draft, stable=chosen)


def _begun(scene: Scene, draft: Draft) -> Draft:
    """Where the newest revision is to earn its traffic, and is not one that was given up and nobody asked for again."""
    declared, latest, rollout = scene.declared, scene.latest, draft.rollout
    due = declared.strategy in STEPWISE and not declared.pinned_revision
    if not due or latest not in scene.revisions or not draft.stable or latest == draft.stable:
        return draft
    obeyed = ""
    if rollout.revision == latest and rollout.strategy in STEPWISE and not _may_again(draft, scene.revisions[latest]):
        if not carried_out(scene, rollout, PROMOTE):
            return draft
        obeyed = noted({AGAIN: scene.promote})
    return begun(scene, draft, latest, obeyed)


def _may_again(draft: Draft, candidate: Runs) -> bool:
    """Its evals failed and have passed since; or it was promoted, and is wanted again after something else was stable."""
    last = draft.history[0] if draft.history else None
    if last is None or last.revision != candidate.name:
        return True
    if last.reason == EVALS_AGAIN:
        return FAILED not in candidate.gates.values()
    return last.action in ("Promoted", "Superseded")
