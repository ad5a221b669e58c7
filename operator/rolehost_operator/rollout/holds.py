"""Why a rollout does not get on, in the order in which things are to be mended."""

from collections.abc import Iterator

from rolehost_api.crd.rollout import WARM_UP_WAIT_SECONDS, Strategy
from rolehost_operator.rollout.naming import resolve
from rolehost_operator.rollout.scene import Draft, Hold, Runs, Scene
from rolehost_operator.rollout.table import Stage
from rolehost_operator.rollout.times import NONE
from rolehost_operator.rollout.verdict import Judgement, Verdict
from rolehost_operator.rollout.waits import cooldown_in, pause, pause_in, rolled_back_before, warm_in
from rolehost_operator.rollout.words import AGAIN, obeyed

PASSED = "Passed"
PAUSED = "Paused"
GONE = "RevisionGone"
WARMING_UP = "WarmingUp"


def hold(scene: Scene, draft: Draft, judgement: Judgement | None) -> Hold | None:
    """Why it does not get on, in the order in which things are to be mended; None where nothing is in the way."""
    if scene.declared.paused:
        return Hold(PAUSED, "spec.rollout.paused: nothing advances, weights stay as they are", "Pause")
    if pin := unknown_pin(scene):
        return pin
    candidate = scene.revisions.get(draft.rollout.revision)
    stage = Stage(draft.rollout.stage)
    if candidate is None:
        return Hold(GONE, f"{draft.rollout.revision} is gone")
    if stage is Stage.PREPARING:
        return next(_unprepared(scene, draft, candidate), None)
    if stage is Stage.WATCHING:
        return _watched(scene, draft, judgement)
    return next(_undecided(scene, draft, candidate, judgement), None)


def unknown_pin(scene: Scene) -> Hold | None:
    """A pin that leads nowhere changes nothing, but nothing advances past it."""
    word = scene.declared.pinned_revision
    if not word or resolve(word, scene.revisions.values()):
        return None
    return Hold("PinnedRevisionNotFound", f"no one revision is meant by {word}; see kubectl get rhrev")


def _unprepared(scene: Scene, draft: Draft, candidate: Runs) -> Iterator[Hold]:
    by_hand = AGAIN in obeyed(draft.rollout)
    if not by_hand and cooldown_in(scene, draft) > NONE:
        yield Hold(
            "Cooldown",
            f"after an automatic rollback no rollout begins by itself for {scene.declared.cooldown_seconds} s; "
            "`rolehost rollout promote` begins this one now",
        )
    if not by_hand and rolled_back_before(draft.history, candidate.name):
        yield Hold(
            "RolledBackBefore",
            f"{candidate.name} was rolled back before and is not tried again by itself: "
            "change it, or `rolehost rollout promote`",
        )
    if short := short_of_pods(scene, candidate):
        yield short
    open_gates = [gate.name for gate in scene.declared.analysis.gates if candidate.gates.get(gate.name) != PASSED]
    if open_gates:
        name = open_gates[0]
        yield Hold(
            "GatesPending",
            f"the gate {name} has not passed: `rolehost eval --gate {name}`, or `rolehost rollout promote`",
        )
    if reset := would_reset(scene, draft, candidate):
        yield reset
    if cold := warming_up(scene, draft):
        yield cold


def warming_up(scene: Scene, draft: Draft) -> Hold | None:
    """The last that is waited for, and for a bounded time: gateways begin when they read in the status that this holds."""
    if warm_in(scene, draft) <= NONE:
        return None
    warmth = scene.warmth
    return Hold(
        WARMING_UP,
        f"{warmth.by} of {warmth.of} gateways have given it the turns of spec.rollout.warmUp, which are nobody's; "
        f"after {WARM_UP_WAIT_SECONDS} s it goes on without them",
    )


def would_reset(scene: Scene, draft: Draft, candidate: Runs) -> Hold | None:
    """Where sessions that go back to the stable revision could not take their state along."""
    stable = scene.revisions.get(draft.stable)
    version = candidate.schema_version
    readable = stable is None or version == stable.schema_version or version in stable.reads
    if readable or scene.declared.allow_state_reset:
        return None
    return Hold(
        "RollbackWouldResetState",
        f"{draft.stable} cannot read state of schemaVersion {version}, so a rollback would begin it anew: first "
        f"roll out a revision with {version} in state.readsSchemaVersions, or set rollout.allowStateReset",
    )


def short_of_pods(scene: Scene, candidate: Runs) -> Hold | None:
    if candidate.fault and not candidate.serving:
        return Hold(candidate.fault[0], f"{candidate.name}: {candidate.fault[1]}")
    if candidate.refused:
        return Hold("InsufficientQuota", f"the pods of {candidate.name} cannot be made: {candidate.refused}")
    if candidate.failing:
        return Hold("PodsFailing", f"the pods of {candidate.name} do not start: {candidate.failing}")
    if not candidate.serving or candidate.ready < scene.pods:
        return Hold("WaitingForPods", f"{candidate.ready} of {scene.pods} pods of {candidate.name} are Ready")
    return None


def _undecided(scene: Scene, draft: Draft, candidate: Runs, judgement: Judgement | None) -> Iterator[Hold]:
    rollout = draft.rollout
    if scene.breaker:
        yield Hold("BreakerOpen", f"a gateway gives {candidate.name} no new sessions: too many bad ones in a row")
    if scene.declared.strategy is Strategy.MANUAL:
        yield Hold(
            "AwaitingPromotion",
            f"step {rollout.step} of {rollout.steps} at {rollout.percent} %: `rolehost rollout promote` ends it",
        )
    if judgement is None:
        yield Hold("NoEvidence", "nothing was counted yet; `rolehost rollout promote` ends the step without")
    elif judgement.verdict is not Verdict.HEALTHY:
        yield Hold(judgement.reason, judgement.message)
    if pause_in(scene, draft) > NONE:
        yield Hold("StepNotOver", f"the step lasts {pause(scene, draft)} s at least")
    if short := short_of_pods(scene, candidate):
        yield short


def _watched(scene: Scene, draft: Draft, judgement: Judgement | None) -> Hold:
    if judgement and judgement.verdict is Verdict.UNHEALTHY:
        return Hold(
            judgement.reason,
            f"{judgement.message}; it was rolled back before and is not by itself again: `rolehost rollout abort`",
        )
    return Hold("Watching", f"{draft.rollout.previous} is kept warm for {scene.declared.watch_seconds} s")
