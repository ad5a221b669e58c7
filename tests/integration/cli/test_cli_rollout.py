"""`rolehost rollout` against a real apiserver; what an operator would write is written by the test."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from tests.support.apiserver import ApiServer

from rolehost.cli import main
from rolehost_api.names import ABORT, API_VERSION, PROMOTE
from rolehost_operator.rollout_commands import commands, rollout

STEPPING = {
    "id": "1-27d3d70a",
    "strategy": "Progressive",
    "revision": "cat-2222222222",
    "previous": "cat-1111111111",
    "stage": "Stepping",
    "step": 1,
    "steps": 3,
    "percent": 5,
    "lastDecision": {
        "action": "Hold",
        "verdict": "Unknown",
        "reason": "WaitingForSessions",
        "message": "3 of 50 sessions",
    },
}


def role() -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Role",
        "metadata": {"name": "cat"},
        "spec": {"template": {"persona": {"system": "You are a cat."}}, "rollout": {"strategy": "Progressive"}},
    }


def revision(number: int) -> dict[str, Any]:
    name, template = f"cat-{str(number) * 10}", role()["spec"]["template"]
    spec = {"roleName": "cat", "sequence": number, "hashVersion": 1, "hash": str(number) * 64, "template": template}
    return {"apiVersion": API_VERSION, "kind": "RoleRevision", "metadata": {"name": name}, "spec": spec}


class Tenant:
    def __init__(self, api: ApiServer, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.make(role())

    def make(self, *objects: dict[str, Any]) -> None:
        for one in objects:
            meta = {**one["metadata"], "namespace": self.namespace}
            self.api.apply({**one, "metadata": meta})

    def says(self, **status: Any) -> None:
        """The operator's part."""
        patch = json.dumps({"status": status})
        self.api.kubectl(
            "patch", "rhr", "cat", "-n", self.namespace, "--subresource=status", "--type=merge", f"-p={patch}"
        )

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get("rhr", "cat", "-n", self.namespace)
        return found

    def rollout(self, *arguments: str, code: int = 0) -> str:
        return self.invoke(rollout, *arguments, code=code)

    def invoke(self, command: click.Command, *arguments: str, code: int = 0) -> str:
        """What the command printed, both streams."""
        environment = {"KUBECONFIG": str(self.api.kubeconfig), "HOME": str(self.api.folder)}
        done = CliRunner().invoke(command, [*arguments, "-n", self.namespace], env=environment)
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.output

    def obeys(self, annotation: str, **rollout: Any) -> threading.Thread:
        """As the operator: does what the annotation says, once it is there."""

        def wait() -> None:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                if word := self.get()["metadata"].get("annotations", {}).get(annotation):
                    self.says(rollout={**STEPPING, **rollout, "obeyed": f"{annotation.rpartition('-')[2]} {word}"})
                    return
                time.sleep(0.1)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture
def tenant(role_api: ApiServer) -> Tenant:
    return Tenant(role_api, role_api.namespace("rollout"))


def test_status_shows_what_goes_on_and_exits_by_it(tenant: Tenant) -> None:
    assert "no rollout goes on" in tenant.rollout("status", "cat")
    tenant.says(stableRevision="cat-1111111111", rollout=STEPPING)
    said = tenant.rollout("status", "cat")
    assert "step 1 of 3, 5 %" in said
    assert "3 of 50 sessions" in said
    assert "cat" in tenant.rollout("status")
    tenant.says(rollout={**STEPPING, "stage": "Stopped"})
    tenant.rollout("status", "cat", code=4)
    ended = {"revision": "cat-2222222222", "action": "RolledBack", "at": "2030-01-01T12:00:00Z", "automatic": True}
    tenant.says(rollout={**STEPPING, "stage": ""}, history=[ended])
    tenant.rollout("status", "cat", code=3)
    told = json.loads(tenant.rollout("status", "cat", "-o", "json", code=3))
    assert (told["exit"], told["rollout"]["id"], told["history"][0]["action"]) == (3, "1-27d3d70a", "RolledBack")
    assert "WaitingForSessions" in tenant.rollout("why", "cat")


def test_watching_ends_when_it_is_over(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LOOK_SECONDS", 0.1)
    tenant.says(stableRevision="cat-1111111111", rollout=STEPPING)
    later = threading.Timer(1.0, lambda: tenant.says(rollout={**STEPPING, "stage": "Stopped"}))
    later.start()
    said = tenant.rollout("status", "cat", "--watch", code=4)
    later.join()
    assert "step 1 of 3" in said
    assert "stopped" in said


@pytest.mark.parametrize(
    ("command", "annotation", "end"), [("promote", PROMOTE, {"step": 2}), ("abort", ABORT, {"stage": ""})]
)
def test_a_word_is_written_for_the_place_and_waited_for(
    tenant: Tenant, command: str, annotation: str, end: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LOOK_SECONDS", 0.1)
    assert "no_rollout" in tenant.rollout(command, "cat", code=1)
    tenant.says(stableRevision="cat-1111111111", rollout=STEPPING)
    assert "rollout_moved_on" in tenant.rollout(command, "cat", "--id", "7-00000000", code=1)
    assert annotation not in tenant.get()["metadata"].get("annotations", {})
    operator = tenant.obeys(annotation, **end)
    tenant.rollout(command, "cat", "--id", "1-27d3d70a")
    operator.join()
    assert tenant.get()["metadata"]["annotations"][annotation] == "1-27d3d70a/1"


def test_without_an_operator_it_says_so(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "OBEYED_SECONDS", 0.5)
    tenant.says(rollout=STEPPING)
    assert "not_obeyed" in tenant.rollout("promote", "cat", code=1)
    assert "told" in tenant.rollout("promote", "cat", "--no-wait")


def test_pause_and_resume(tenant: Tenant) -> None:
    tenant.rollout("pause", "cat")
    assert tenant.get()["spec"]["rollout"]["paused"] is True
    tenant.rollout("resume", "cat")
    assert tenant.get()["spec"]["rollout"]["paused"] is False
    assert tenant.get()["spec"]["rollout"]["strategy"] == "Progressive"


def test_undo_pins_the_one_before_until_it_is_taken_back(tenant: Tenant) -> None:
    tenant.says(stableRevision="cat-2222222222")
    assert "nothing_to_undo" in tenant.rollout("undo", "cat", code=1)
    tenant.make(revision(1), revision(2))
    assert "--unpin" in tenant.rollout("undo", "cat")
    assert tenant.get()["spec"]["rollout"]["pinnedRevision"] == "cat-1111111111"
    tenant.rollout("undo", "cat", "--to", "@r2")
    assert tenant.get()["spec"]["rollout"]["pinnedRevision"] == "@r2"
    assert "pinned" in tenant.rollout("status", "cat")
    tenant.rollout("undo", "cat", "--unpin")
    assert "pinnedRevision" not in tenant.get()["spec"]["rollout"]


EVAL = """\
role: role.yaml
scenarios:
- name: echoes
  turns: [{say: miau, expect: {contains: [WORD]}}]
"""


@pytest.mark.parametrize(("word", "code", "said"), [("miau", 0, "Passed"), ("wau", 1, "Failed")])
def test_an_eval_tells_a_revision_that_it_passed_a_gate(
    tenant: Tenant, tmp_path: Path, word: str, code: int, said: str
) -> None:
    tenant.make(revision(1), revision(2))
    tenant.says(latestCreatedRevision="cat-2222222222")
    (tmp_path / "role.yaml").write_text(json.dumps(role()))
    (tmp_path / "eval.yaml").write_text(EVAL.replace("WORD", word))
    arguments = ["eval", str(tmp_path / "eval.yaml"), "--gate", "evals"]
    assert "Passed" not in tenant.invoke(main, *arguments, "--revision", "cat-9999999999", code=2)
    tenant.invoke(main, *arguments, code=code)
    tenant.invoke(main, *arguments, "--revision", "cat-1111111111", code=code)
    for name in ("cat-1111111111", "cat-2222222222"):
        found = tenant.api.get("rhv", name, "-n", tenant.namespace)
        assert found["metadata"]["annotations"]["gate.rolehost.io/evals"] == said


def test_a_role_that_is_not_there(tenant: Tenant) -> None:
    for command in ("status", "why", "promote", "abort", "pause", "resume", "undo"):
        assert "no_role" in tenant.rollout(command, "dog", code=1)
