"""What pods found at the walls, why a pod never ran, and what a few stamps prove of clocks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost.cli.doctor import objects, walls
from rolehost.cli.doctor.api import Answer, is_rights
from rolehost.cli.doctor.clocks import SKEW_SECONDS, Ahead, asked, clocks, node_ahead, proved
from rolehost.cli.doctor.finding import State
from rolehost.cli.doctor.walls import Trial

FAIL, WARN, OK, SKIPPED = State.FAIL, State.WARN, State.OK, State.SKIPPED
RAN = Trial(said={})


def pod(node: str = "n1", phase: str = "Pending", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "plat"}, "spec": {"nodeName": node}, "status": {"phase": phase, **status}}  # fmt: skip


def waiting(reason: str, message: str = "") -> list[dict[str, Any]]:
    return [{"image": "sandbox:1", "state": {"waiting": {"reason": reason, "message": message}}}]


# ── gVisor ──────────────────────────────────────────────────────────────────────────


def test_a_kernel_that_is_not_gvisors_fails() -> None:
    found = walls.gvisor(Trial(said={"gvisor": False, "kernel": "Linux 6.1.0"}))
    assert (found.state, "Linux 6.1.0" in found.what, "runsc" in found.fix) == (FAIL, True, True)
    assert walls.gvisor(Trial(said={"gvisor": True, "kernel": "Linux 4.4.0"})).state is OK
    assert walls.gvisor(Trial(said={"gvisor": "yes"})).state is FAIL, "a word is no proof"


@pytest.mark.parametrize(
    ("trial", "state", "word", "fix"),
    [
        (Trial(refused="User x cannot create", forbidden=True), SKIPPED, "your rights", ""),
        (Trial(refused="exceeded quota"), FAIL, "was refused: exceeded quota", "--probe-namespace"),
        (Trial(pod={}), FAIL, "nothing has scheduled it", "kube-scheduler"),
        (Trial(pod=pod("", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: cpu"}])), FAIL, "0/1 nodes: cpu", "describe nodes"),
        (Trial(pod=pod(containerStatuses=waiting("ErrImagePull"))), FAIL, "ErrImagePull: sandbox:1", "images.sandbox"),
        (Trial(pod=pod(containerStatuses=waiting("CreateContainerError", "no such file"))), FAIL, "no such file", "node n1"),
        (Trial(pod=pod(), warning='no runtime for "runsc" is configured'), FAIL, "runsc", "Install runsc"),
        (Trial(pod=pod(containerStatuses=waiting("ContainerCreating")), warning="Failed to create pod sandbox"), FAIL, "sandbox", "Install runsc"),
        (Trial(pod=pod(), warning="MountVolume failed"), FAIL, "MountVolume failed", "node n1"),
        (Trial(pod=pod("n1", "Running")), FAIL, "Running on node n1", "node n1"),
        (Trial(pod=pod("n1", "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}])), FAIL, "137 OOMKilled", "node n1"),
    ],
)  # fmt: skip
def test_a_pod_that_did_not_run_says_why(trial: Trial, state: State, word: str, fix: str) -> None:
    for found in (walls.gvisor(trial), walls.network(trial, Trial()), walls.network(RAN, trial)):
        assert found.state is state
        assert word in found.what
        assert fix in found.fix


# ── NetworkPolicy ───────────────────────────────────────────────────────────────────


def tried(*rounds: tuple[bool, bool, bool]) -> Trial:
    ports = [str(port) for port in (objects.BOTH, objects.NO_EGRESS, objects.NO_INGRESS)]
    return Trial(said={"rounds": [dict(zip(ports, one, strict=True)) for one in rounds]})


CLOSED, OPEN, DEAD = (True, False, False), (True, True, True), (False, False, False)


@pytest.mark.parametrize(
    ("rounds", "state", "word"),
    [
        ((DEAD, DEAD, CLOSED, CLOSED), OK, "enforced outward and inward"),
        ((OPEN, OPEN), FAIL, "not enforced outward and inward"),
        (((True, True, False),) * 2, FAIL, "not enforced outward:"),
        (((True, False, True),) * 2, FAIL, "not enforced inward:"),
        ((OPEN, CLOSED, CLOSED), WARN, "1 of 3 tries"),
        ((DEAD, DEAD), FAIL, "nothing is proved"),
        ((), FAIL, "nothing is proved"),
    ],
)
def test_policies_are_judged_with_their_control(rounds: tuple[Any, ...], state: State, word: str) -> None:
    found = walls.network(RAN, tried(*rounds))
    assert found.state is state
    assert word in found.what


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=8))
def test_it_is_well_only_where_the_control_was_open_and_the_rest_was_not(rounds: list[tuple[bool, bool, bool]]) -> None:
    found = walls.network(RAN, tried(*rounds))
    control = any(one[0] for one in rounds)
    through = any(one[1] or one[2] for one in rounds)
    assert (found.state is OK) == (control and not through)


def test_the_policies_forbid_one_port_each_way_and_leave_the_control() -> None:
    client, server = (policy["spec"] for policy in objects.policies("r"))
    out = {rule["port"] for rule in client["egress"][0]["ports"]}
    into = {rule["port"] for rule in server["ingress"][0]["ports"]}
    assert out & into == {objects.BOTH}
    assert (into - out, out - into) == ({objects.NO_EGRESS}, {objects.NO_INGRESS})
    for spec in (client, server):
        assert spec["podSelector"]["matchLabels"][objects.DOCTOR] == "r", "nobody else's pods are touched"


def test_every_pod_is_restricted_short_lived_and_without_a_token() -> None:
    made = [objects.kernel_pod("r", "i", "Never"), objects.server_pod("r", "i", "Never"), objects.client_pod("r", "i", "Never", "::1")]  # fmt: skip
    assert [one["spec"].get("runtimeClassName") for one in made] == ["gvisor", None, None]
    for one in made:
        spec, [container] = one["spec"], one["spec"]["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["activeDeadlineSeconds"] == objects.LIFE_SECONDS
        assert spec["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "rolehost.io/role" not in one["metadata"]["labels"], "it is no sandbox of ours"
        compile(container["command"][2], "script", "exec")


def test_rights_and_refusals_are_told_apart() -> None:
    def said(message: str) -> bool:
        return is_rights(Answer(403, {"message": message}))

    assert said('pods is forbidden: User "u" cannot create resource "pods" in API group ""')
    assert not said('pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true')
    assert not said('pods "x" is forbidden: pod rejected: RuntimeClass "gvisor" not found')
    assert is_rights(Answer(401, "Unauthorized"))
    assert not is_rights(Answer(500, {"message": "x"}))


# ── clocks ──────────────────────────────────────────────────────────────────────────


@given(st.floats(-100, 100), st.floats(0, 1e9), st.floats(0, 5), st.floats(0, 1))
def test_an_answer_holds_the_true_difference(ahead: float, sent: float, took: float, when: float) -> None:
    stamp = sent + took * when + ahead
    found = asked(stamp, sent, sent + took)
    assert found.low - 1e-6 <= ahead <= found.high + 1e-6
    coarse = asked(float(int(stamp // 1)), sent, sent + took, coarse=1.0)
    assert coarse.low - 1e-6 <= ahead <= coarse.high + 1e-6


@given(st.floats(-9, 9), st.floats(0, 2), st.floats(0, 2))
def test_a_skew_is_found_or_not_up_to_half_of_what_is_uncertain(apart: float, below: float, above: float) -> None:
    """Any interval that holds the truth: the verdict is right outside of that margin around the bound."""
    margin = (below + above) / 2
    verdict = proved(Ahead(apart - below, apart + above))
    if abs(apart) + margin < SKEW_SECONDS:
        assert not verdict
    if abs(apart) - margin > SKEW_SECONDS:
        assert verdict


def test_a_clock_that_is_off_is_named_with_the_other() -> None:
    near = {"gateway": Ahead(-0.1, 0.1), "Redis": Ahead(-0.1, 0.1), "apiserver": Ahead(-0.6, 0.4)}
    assert clocks(near).state is OK
    found = clocks({**near, "node a": Ahead(-4.0, -3.0), "node b": Ahead(-0.5, 0.5)})
    assert found.state is WARN
    assert "ahead of node a" in found.what
    assert "set-ntp" in found.fix
    far = clocks({**near, "Redis": Ahead(3.0, 3.2)})
    assert far.what.startswith("Redis is about 3.")


def test_this_machines_own_clock_accuses_nobody() -> None:
    assert (
        clocks({"gateway": Ahead(99.0, 99.1), "Redis": Ahead(99.0, 99.2), "apiserver": Ahead(98.9, 99.5)}).state is OK
    )


def test_fewer_than_two_clocks_are_no_comparison() -> None:
    assert clocks({"gateway": Ahead(0.0, 0.0)}).state is SKIPPED


def test_a_lease_that_does_not_say_is_no_clock() -> None:
    assert node_ahead({"metadata": {}, "spec": {"renewTime": "2030-01-01T00:00:00.000000Z"}}) is None
    assert node_ahead({"metadata": {"managedFields": [{"time": "2030-01-01T00:00:00Z"}]}, "spec": {}}) is None
    assert node_ahead({"metadata": {"managedFields": [{"time": "soon"}]}, "spec": {"renewTime": "later"}}) is None
