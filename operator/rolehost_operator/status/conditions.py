"""The conditions that every Role has, in words that say what is so and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from rolehost_api.crd.common import Condition
from rolehost_api.link.messages import LoadError
from rolehost_api.names import (
    ACCEPTED,
    ALL_GOOD,
    AWAITING_PROBE,
    BUNDLE_NOT_FOUND,
    LOGIC_INVALID,
    LOGIC_LOADED,
    NO_GATEWAY,
    POD_NOT_ATTESTED,
    PODS_FAILING,
    PROGRESSING,
    READY,
    RUNTIME_CLASS,
    SANDBOX_BREACHED,
    SANDBOX_UNAVAILABLE,
    SANDBOX_VERIFIED,
)
from rolehost_operator.observed import Observed
from rolehost_operator.status.health import Health

FINAL = frozenset({LOGIC_INVALID, BUNDLE_NOT_FOUND, SANDBOX_BREACHED, SANDBOX_UNAVAILABLE})
"""Reasons that waiting does not mend: told at once. Anything else may be gone in a moment."""
MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a Role is not accepted."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Finding:
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Situation:
    """What the findings are drawn from."""

    observed: Observed
    fault: Fault | None
    latest: str
    """Revision of the present template; empty while there is none."""
    stable: str
    health: Health
    """Of `latest`."""
    url: str


def findings(of: Situation) -> dict[str, Finding]:
    return {
        READY: _ready(of),
        ACCEPTED: _accepted(of),
        LOGIC_LOADED: _logic_loaded(of),
        SANDBOX_VERIFIED: _sandbox_verified(of),
    }


def conditions(
    found: dict[str, Finding], before: Sequence[Condition], generation: int, now: datetime
) -> list[Condition]:
    """`found` as conditions; the time of the last transition stays where the status did.

    >>> from datetime import UTC
    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> [first] = conditions({"Ready": Finding("True", "Serving", "")}, [], 1, noon)
    >>> [second] = conditions({"Ready": Finding("True", "Serving", "")}, [first], 2, noon.replace(hour=13))
    >>> second.last_transition_time, second.observed_generation
    ('2030-01-01T12:00:00Z', 2)
    """
    then = {condition.type: condition for condition in before}
    made = []
    for kind, finding in found.items():
        condition = Condition(
            type=kind,
            status=finding.status,
            reason=finding.reason,
            message=finding.message[:MAX_MESSAGE],
            observed_generation=generation,
            last_transition_time=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        old = then.get(kind)
        if old and old.status == condition.status and old.last_transition_time:
            condition = replace(condition, last_transition_time=old.last_transition_time)
        made.append(condition)
    return made


def _ready(of: Situation) -> Finding:
    if of.fault:
        return Finding("False", of.fault.reason, of.fault.message)
    if not of.observed.runtime_class:
        return _unavailable()
    if of.health.breach:
        return _breached(of.health.breach)
    if not of.observed.gateways:
        return Finding(
            "False", NO_GATEWAY, "no gateway reports to the operator; see the pods of the platform's gateway"
        )
    if of.health.error:
        reason, said = _load_error(of.health.error)
        return Finding("False", reason, f"{of.latest} does not load: {said}{_meanwhile(of)}")
    if of.health.serving and of.stable not in ("", of.latest):
        return Finding("True", ALL_GOOD, f"{of.stable} answers at {of.url}; {of.latest} is loaded beside it")
    if of.health.serving:
        return Finding("True", ALL_GOOD, f"{of.latest} answers at {of.url}")
    if of.health.not_attested:
        return Finding("False", POD_NOT_ATTESTED, f"{_not_attested(of)}{_meanwhile(of)}")
    failing = [seen.failing for seen in of.observed.deployments if seen.revision == of.latest and seen.failing]
    if failing:
        return Finding("False", PODS_FAILING, f"the pods of {of.latest} do not start: {failing[0]}{_meanwhile(of)}")
    return Finding("Unknown", PROGRESSING, f"{of.latest or 'a revision'} is on its way{_meanwhile(of)}")


def _meanwhile(of: Situation) -> str:
    return f"; meanwhile {of.stable} serves" if of.stable and of.stable != of.latest else ""


def _accepted(of: Situation) -> Finding:
    if of.fault:
        return Finding("False", of.fault.reason, of.fault.message)
    return Finding("True", ACCEPTED, "the spec is valid and all that it refers to was found")


def _logic_loaded(of: Situation) -> Finding:
    if of.health.error:
        reason, said = _load_error(of.health.error)
        return Finding("False", reason, f"{of.latest}: {said}")
    if of.health.loaded:
        return Finding("True", LOGIC_LOADED, f"{of.latest} is loaded in its sandbox")
    return Finding("Unknown", PROGRESSING, f"no sandbox of {of.latest or 'a revision'} has loaded it yet")


def _sandbox_verified(of: Situation) -> Finding:
    if not of.observed.runtime_class:
        return _unavailable()
    if of.health.breach:
        return _breached(of.health.breach)
    if of.health.verified:
        return Finding("True", SANDBOX_VERIFIED, _proof(of))
    if of.health.not_attested:
        return Finding("Unknown", POD_NOT_ATTESTED, _not_attested(of))
    because = f"; {of.health.doubt}" if of.health.doubt else ""
    return Finding("Unknown", AWAITING_PROBE, f"no sandbox has proved itself yet{because}")


def _proof(of: Situation) -> str:
    """What was proved, by whose word. The same for all pods, so that no write comes of a pod that is out of sight."""
    host = f"RuntimeClass {RUNTIME_CLASS}, the platform's account and image, a pod of the operator's Deployment"
    gateways = " and ".join(of.observed.platform.gateway_targets)
    inside = f"gVisor's kernel, no token, no way out, not even to {gateways}, where the gateways listen"
    return f"proved by Kubernetes: {host}; proved from inside: {inside}"


def _not_attested(of: Situation) -> str:
    who = f"who listens at the address of a pod of {of.latest} is not that pod, and was sent nothing"
    return f"{who}; it is tried again; if it stays so, delete the pod"


def _unavailable() -> Finding:
    hint = "install gVisor on the nodes and the RuntimeClass; nothing runs without it"
    return Finding("False", SANDBOX_UNAVAILABLE, f"the cluster has no RuntimeClass {RUNTIME_CLASS}: {hint}")


def _breached(what: str) -> Finding:
    return Finding("False", SANDBOX_BREACHED, f"a sandbox is not what it must be: {what}")


def fault(health: Health) -> tuple[str, str] | None:
    """Reason and words of what waiting does not mend about a revision."""
    if health.breach:
        return SANDBOX_BREACHED, f"a sandbox is not what it must be: {health.breach}"
    return _load_error(health.error) if health.error else None


def _load_error(error: LoadError) -> tuple[str, str]:
    """Reason and words: type, file and line of the error, never its text."""
    if error.code == "bundle_not_found":
        return BUNDLE_NOT_FOUND, "this tenant never pushed its bundle; run rolehost push and use the digest it prints"
    where = f" at {error.where}" if error.where else ""
    hint = f" ({error.hint})" if error.hint else ""
    return LOGIC_INVALID, f"{error.error or error.code}{where}{hint}"
