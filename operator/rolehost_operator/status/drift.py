"""RuntimeDrift: whether a Role's pods run what an earlier version of the platform put into them."""

from rolehost_api.names import AWAITING_TURN, RUNTIME_DRIFT, UPGRADE_HALTED, UPGRADE_STUCK, UPGRADING
from rolehost_operator.observed import Observed
from rolehost_operator.running import Running
from rolehost_operator.status.conditions import Finding


def runtime_drift(observed: Observed, run: Running) -> dict[str, Finding]:
    """The condition while it is True, and nothing otherwise: most Roles never have it.

    A Role that had to wait keeps it until its pods are all new; one whose turn comes at
    once does not say so.
    """
    finding = _behind(observed) or _waiting(observed, run) or _upgrading(observed, run)
    return {RUNTIME_DRIFT: finding} if finding else {}


def _behind(observed: Observed) -> Finding | None:
    for seen in observed.deployments:
        if seen.standing.behind:
            why = f": {seen.failing}" if seen.failing else ""
            return Finding(
                "True",
                UPGRADE_STUCK,
                f"new pods of {seen.meta.name} do not come up{why}; its earlier pods stay. "
                "A platform administrator mends the image, or deletes this Deployment to have it made anew",
            )
    return None


def _waiting(observed: Observed, run: Running) -> Finding | None:
    if not run.waiting:
        return None
    said = f"{run.waiting[0].meta.name} {_runs(run.waiting[0].image, observed.platform.sandbox_image)}"
    if observed.halted:
        return Finding(
            "True",
            UPGRADE_HALTED,
            f"{said}; the upgrade stopped where new pods do not come up, which the platform's operator logs",
        )
    share = f"at most {observed.platform.upgrade_percent} % of all sandboxes at a time"
    return Finding("True", AWAITING_TURN, f"{said}; it waits for its turn ({share})")


def _runs(image: str, platforms: str) -> str:
    """
    >>> _runs("sandbox:1", "sandbox:2")
    "runs image sandbox:1, the platform's is sandbox:2"
    >>> _runs("sandbox:1", "sandbox:1")
    'runs pods as an earlier version of the platform made them'
    """
    if image == platforms:
        return "runs pods as an earlier version of the platform made them"
    return f"runs image {image}, the platform's is {platforms}"


def _upgrading(observed: Observed, run: Running) -> Finding | None:
    said = any(one.type == RUNTIME_DRIFT for one in observed.role.status.conditions)
    if said and (run.rolls or any(seen.standing.rolling for seen in observed.deployments)):
        return Finding("True", UPGRADING, "its pods are being replaced, one after the other, and finish their turns")
    return None
