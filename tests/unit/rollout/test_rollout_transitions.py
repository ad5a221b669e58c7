"""Every transition is counted once, whatever of it one write of the status told at once."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.observing import PLATFORM, role

from rolehost_api.crd.role import RoleStatus
from rolehost_api.crd.rollout import Past, RolloutStatus
from rolehost_operator.handlers.shell import Shell
from rolehost_operator.kube.client import ApiError
from rolehost_operator.observed import read_role
from rolehost_operator.plan import Plan
from rolehost_operator.rollout.transitions import transitions
from rolehost_operator.telemetry import Metrics


def status(stage: str = "", step: int = 0, name: str = "1-ab", past: tuple[str, ...] = ()) -> RoleStatus:
    """`past` is the newest first."""
    history = [
        Past(revision=f"r{len(past) - at}", action=action, at=f"t{len(past) - at}") for at, action in enumerate(past)
    ]
    return RoleStatus(rollout=RolloutStatus(id=name, stage=stage, step=step), history=history)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param(RoleStatus(), status("Preparing"), ["Began"], id="begins"),
        pytest.param(status("Preparing"), status("Stepping", 1), ["Stepped"], id="first-step"),
        pytest.param(status("Stepping", 1), status("Stepping", 1), [], id="nothing"),
        pytest.param(status("Stepping", 2), status("Stopped", 2), ["Stopped"], id="stops"),
        pytest.param(status("Stopped", 2), status("Stopped", 2), [], id="stays-stopped"),
        pytest.param(status("Stepping", 2), status("", 0, past=("RolledBack",)), ["RolledBack"], id="rolled-back"),
        pytest.param(
            status("Stepping", 2, past=("Promoted",)),
            status("Preparing", 0, "2-cd", past=("Superseded", "Promoted")),
            ["Superseded", "Began"],
            id="another-one-at-once",
        ),
        pytest.param(
            status("Stepping", 3), status("", 0, past=("Finished", "Promoted")), ["Promoted", "Finished"], id="two-ends"
        ),
    ],
)
def test_what_happened(before: RoleStatus, after: RoleStatus, told: list[str]) -> None:
    assert list(transitions(before, after)) == told


def test_it_is_counted_by_role_and_action() -> None:
    metrics = Metrics()
    metrics.rolled("acme", "cat", ["Stepped", "Stepped", "RolledBack"])
    of = {"tenant": "acme", "role": "cat"}
    counted = {
        action: metrics.registry.get_sample_value("rolehost_rollout_transitions_total", {**of, "action": action})
        for action in ("Stepped", "RolledBack")
    }
    assert counted == {"Stepped": 2, "RolledBack": 1}


class Client:
    """As much of kube.client.Client as telling a status needs."""

    def __init__(self, refusal: ApiError | None = None) -> None:
        self.refusal = refusal

    async def write_status(self, owner: dict[str, Any], status: Any) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        return {**owner, "status": status}


@pytest.mark.parametrize(
    ("client", "counted"),
    [pytest.param(Client(), 1, id="told"), pytest.param(Client(ApiError("write", 404, "gone")), None, id="gone")],
)
async def test_it_is_counted_once_the_status_says_it(client: Client, counted: int | None) -> None:
    metrics = Metrics()
    shell = Shell(client, PLATFORM, metrics, "me")  # type: ignore[arg-type]
    observed: Any = SimpleNamespace(role=read_role(role()), namespace=SimpleNamespace(tenant=True))
    await shell._tell(observed, Plan(status=status("Preparing")))
    of = {"tenant": "acme", "role": "cat", "action": "Began"}
    assert metrics.registry.get_sample_value("rolehost_rollout_transitions_total", of) == counted
