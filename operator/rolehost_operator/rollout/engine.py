"""One look at one Role's rollout: what its status says next. Everything that is known of it is in the Scene.

A move is made only for an occasion that the table has for the stage. After a move the evidence is
that of an epoch gone by, so it moves nothing more, and looking again at once changes nothing.
"""

from collections.abc import Iterator
from dataclasses import replace as redrawn
from datetime import timedelta

from msgspec.structs import replace

from rolehost_api.crd.rollout import Counts, RolloutStatus
from rolehost_operator.plan import Note
from rolehost_operator.rollout import decisions, experiment, leaving
from rolehost_operator.rollout.confounders import confounders, models, sides
from rolehost_operator.rollout.holds import PAUSED, WARMING_UP, hold
from rolehost_operator.rollout.moves import MOVES
from rolehost_operator.rollout.occasions import happening
from rolehost_operator.rollout.scene import Draft, Hold, Outcome, Scene
from rolehost_operator.rollout.standing import idle, settled
from rolehost_operator.rollout.table import TABLE, Stage
from rolehost_operator.rollout.times import NONE, left, since, stamp
from rolehost_operator.rollout.traffic import canary, traffic
from rolehost_operator.rollout.verdict import Judgement
from rolehost_operator.rollout.waits import cooldown_in, deadline_in, pause_in, warm_in
from rolehost_operator.rollout.words import still_said

MOST_MOVES = 4
"""In one look: given up, begun, prepared."""


def step(scene: Scene) -> Outcome:
    before = scene.status
    draft = Draft(
        stable=before.stable_revision,
        rollout=_taken_up(scene, before.rollout or RolloutStatus()),
        leaving=tuple(before.leaving),
        history=tuple(before.history),
    )
    judgement, held = scene.judgement, None
    draft, held = settled(scene, draft)
    draft, judgement = _with_present_models(scene, draft, judgement)
    for _ in range(MOST_MOVES):
        if experiment.runs(draft) or idle(draft):
            break
        happened = happening(scene, draft, judgement)
        move = TABLE.get((Stage(draft.rollout.stage), happened.occasion)) if happened else None
        if happened is None or move is None:
            break
        draft, judgement = MOVES[move](scene, draft, happened, judgement), None
        if idle(draft):
            draft, held = settled(scene, draft)
    return _outcome(scene, draft, held, judgement)


def _taken_up(scene: Scene, rollout: RolloutStatus) -> RolloutStatus:
    """As it was left; but the time that it was paused does not count, and what was taken back may be said again."""
    paused = rollout.last_decision is not None and rollout.last_decision.reason == PAUSED
    if paused and not scene.declared.paused and rollout.stage:
        rollout = replace(rollout, progressed_at=stamp(scene.at))
    return replace(rollout, obeyed=still_said(scene, rollout))


def _with_present_models(scene: Scene, draft: Draft, judgement: Judgement | None) -> tuple[Draft, Judgement | None]:
    """What was counted before a ModelBackend changed says little of what comes: the evidence begins anew."""
    rollout = draft.rollout
    if Stage(rollout.stage) not in (Stage.STEPPING, Stage.WATCHING):
        return draft, judgement
    now = models(scene, sides(rollout, draft.stable))
    if now == rollout.backends:
        return draft, judgement
    fresh = replace(rollout, backends=now)
    if not rollout.backends:
        return redrawn(draft, rollout=fresh), judgement
    fresh = replace(fresh, epoch=rollout.epoch + 1, step_started_at=stamp(scene.at))
    message = f"rollout {rollout.id}: a ModelBackend of one of its revisions changed, evidence begins anew"
    note = Note("Normal", "RolloutEvidenceRestarted", message)
    return redrawn(draft, rollout=fresh, notes=(*draft.notes, note)), None


# ── the outcome ─────────────────────────────────────────────────────────────────────


def _outcome(scene: Scene, draft: Draft, held: Hold | None, judgement: Judgement | None) -> Outcome:
    before = scene.status
    rollout = draft.rollout
    stage = Stage(rollout.stage)
    if stage not in (Stage.IDLE, Stage.STOPPED):  # what a person is to decide on stands until then
        held = (held if experiment.runs(draft) else hold(scene, draft, judgement)) or held
        held = held or _running(judgement)
        rollout = _warming(scene, rollout, held)
        window = since(rollout.step_started_at, scene.at)
        differs = confounders(scene, rollout, draft.stable)
        fresh = decisions.held(held, scene.at, judgement, window, differs)
        last = rollout.last_decision
        rollout = replace(rollout, last_decision=decisions.worth_writing(last, fresh, scene.at))
    if before.rollout is not None and before.rollout.id == rollout.id:
        rollout = replace(rollout, sessions=_never_less(rollout.sessions, scene.counts))
    shares = traffic(rollout, draft.stable)
    used = {draft.stable, canary(rollout), *(one.revision for one in shares)}
    gone = leaving.kept(draft.leaving, scene, used)
    return Outcome(
        stable=draft.stable,
        canary=canary(rollout),
        traffic=shares,
        leaving=gone,
        rollout=rollout if rollout.attempt else None,
        history=draft.history,
        notes=draft.notes,
        look_in=min(_waits(scene, redrawn(draft, rollout=rollout, leaving=gone)), default=None),
        hold=held,
    )


def _warming(scene: Scene, rollout: RolloutStatus, held: Hold) -> RolloutStatus:
    """Where only that is waited for now, the status says since when, and gateways begin."""
    begins = held.reason == WARMING_UP and not rollout.warming_since
    return replace(rollout, warming_since=stamp(scene.at)) if begins else rollout


def _running(judgement: Judgement | None) -> Hold:
    """Of an experiment: whatever is known of it so far, it runs until it is not declared any more."""
    if judgement is None:
        return Hold("Running", "the experiment runs until it is not declared any more")
    return Hold(judgement.reason, judgement.message)


def _never_less(before: Counts, now: Counts) -> Counts:
    return Counts(
        migrated=max(before.migrated, now.migrated),
        drained=max(before.drained, now.drained),
        dropped=max(before.dropped, now.dropped),
        reset=max(before.reset, now.reset),
    )


def _waits(scene: Scene, draft: Draft) -> Iterator[timedelta]:
    """Until something may pass by itself."""
    declared, rollout = scene.declared, draft.rollout
    stage = Stage(rollout.stage)
    if stage in (Stage.STEPPING, Stage.WATCHING):
        yield timedelta(seconds=declared.analysis.interval_seconds)
    if stage in (Stage.PREPARING, Stage.STEPPING) and not experiment.runs(draft) and not declared.paused:
        yield from (
            wait
            for wait in (pause_in(scene, draft), cooldown_in(scene, draft), deadline_in(scene, draft))
            if wait > NONE
        )
    if stage is Stage.PREPARING and rollout.warming_since and (cold := warm_in(scene, draft)) > NONE:
        yield cold
    if stage is Stage.WATCHING:
        yield max(timedelta(seconds=1), left(rollout.step_started_at, declared.watch_seconds, scene.at))
    if (wait := leaving.look_in(draft.leaving, scene.at)) is not None:
        yield wait
