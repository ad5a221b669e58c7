"""RolloutProgressing and RolloutHealthy: the two conditions of a Role whose revisions earn their traffic."""

from rolehost_api.crd.rollout import RolloutStatus, Strategy
from rolehost_api.names import ANALYSIS_UNAVAILABLE, ROLLOUT_HEALTHY, ROLLOUT_PROGRESSING
from rolehost_operator.rollout.scene import Outcome
from rolehost_operator.rollout.table import Stage
from rolehost_operator.status.conditions import Finding

VERDICTS = {"Healthy": "True", "Unhealthy": "False"}


def rollout_findings(outcome: Outcome, strategy: Strategy, missing: str) -> dict[str, Finding]:
    """Nothing for a Role with AllAtOnce that never had anything else; `missing`: why nothing can be read now."""
    rollout = outcome.rollout
    if rollout is None and outcome.hold is None and strategy is Strategy.ALL_AT_ONCE:
        return {}
    found = {ROLLOUT_PROGRESSING: _progressing(rollout, outcome)}
    if rollout is not None and rollout.stage in (Stage.STEPPING.value, Stage.WATCHING.value):
        found[ROLLOUT_HEALTHY] = _healthy(rollout, missing)
    return found


def _progressing(rollout: RolloutStatus | None, outcome: Outcome) -> Finding:
    if rollout is None or not rollout.stage:
        if outcome.hold is not None:
            return Finding("False", outcome.hold.reason, outcome.hold.message)
        past = outcome.history[0] if outcome.history else None
        if past is None:
            return Finding("False", "NoRollout", "nothing is rolled out")
        said = rollout.last_decision if rollout else None
        message = said.message if said else f"{past.revision}: {past.action} at {past.at}, {past.reason}"
        return Finding("False", past.action, message)
    said = rollout.last_decision
    message = f"{rollout.id}: {said.message}" if said else rollout.id
    if rollout.stage == Stage.STOPPED.value:
        return Finding("False", said.reason if said else "Stopped", message)
    return Finding("True", said.reason if said and said.reason else rollout.stage, message)


def _healthy(rollout: RolloutStatus, missing: str) -> Finding:
    said = rollout.last_decision
    if missing:
        return Finding("Unknown", ANALYSIS_UNAVAILABLE, f"{missing}: weights stay until it can be read again")
    if said is None or not said.verdict:
        return Finding("Unknown", "NoEvidence", "nothing was counted yet")
    status = VERDICTS.get(said.verdict)
    if status == "True":
        return Finding("True", "Healthy", said.message)
    if status == "False":
        return Finding("False", "Unhealthy", said.message)
    return Finding("Unknown", said.reason, said.message)
