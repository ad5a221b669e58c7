"""`rolehost eval` against a gateway that runs, and with a model that marks."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner
from tests.support.dev import Dev, dev
from tests.support.model_servers import OPENAI, serving

from rolehost.cli import main

TUTOR = Path(__file__).parents[3] / "examples" / "tutor"
pytestmark = pytest.mark.timeout(180)

ROLE = """\
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: quiz}
spec:
  template:
    persona: {system: You ask.}
    safety:
      guards:
      - name: house
        rules: [{category: Other, words: [bomb]}]
    behavior:
      state: {asked: {type: int}}
      initial: A
      nodes: {A: {}, B: {enter: {set: {asked: "state.asked + 1"}}}}
      edges: [{from: A, to: B, when: "message == 'go'"}, {from: B, to: A, when: "message == 'back'"}]
"""
EVAL = """\
role: role.yaml
repeats: 2
scenarios:
- name: moves
  turns:
  - say: go
    expect: {transition: {from: A, to: B}, node: B, state: {asked: 1}, contains: [go], latencyMs: 60000}
  - say: stay
    expect: {node: B, finishReason: stop}
- name: is guarded
  turns:
  - say: a bomb
    expect: {finishReason: content_filter, notContains: [bomb]}
- name: never
  repeats: 1
  turns:
  - say: go
    expect: {node: A}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("quiz")
    (made / "role.yaml").write_text(ROLE)
    (made / "eval.yaml").write_text(EVAL)
    return made


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Dev]:
    with dev("--port", "0", "--model", "scripted", folder=folder) as here:
        yield here


def test_a_role_that_runs_is_played_as_any_client_talks_to_it(folder: Path, running: Dev) -> None:
    done = CliRunner().invoke(
        main,
        ["eval", str(folder / "eval.yaml"), "--url", f"http://127.0.0.1:{running.port}", "--report", "json"],
    )
    assert done.exit_code == 1, done.output
    (file,) = json.loads(done.stdout)["files"]
    assert [(one["name"], one["runs_passed"], one["runs"]) for one in file["scenarios"]] == [
        ("moves", 2, 2),
        ("is guarded", 2, 2),
        ("never", 0, 1),
    ]
    assert file["scenarios"][2]["faults"][0]["faults"] == ["turn 1: the session is in B, expected A"]


def test_with_a_model_a_gateway_is_started_for_it(folder: Path) -> None:
    done = CliRunner().invoke(
        main, ["eval", str(folder / "eval.yaml"), "--model", "scripted", "--min-pass-rate", "0.8"]
    )
    assert done.exit_code == 0, done.output
    assert "4 of 5 runs passed" in done.stdout


def test_a_model_marks_what_a_rubric_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(
        f"role: {TUTOR / 'role.yaml'}\nscenarios:\n- name: kind\n"
        "  turns: [{say: hi, expect: {judge: {rubric: Is kind., pass: 8}}}]\n"
    )
    marks = iter(("9", "7"))

    async def mark(request: web.Request) -> web.StreamResponse:
        body = OPENAI.begin + OPENAI.piece(next(marks)) + OPENAI.end
        return web.Response(body=body, headers={"Content-Type": OPENAI.content_type})

    async def both() -> list[int]:
        async with serving(OPENAI) as server:
            server.behaviour = mark
            arguments = ["eval", str(file), "--judge", f"judge@{server.url}/v1"]
            codes = [(await asyncio.to_thread(CliRunner().invoke, main, arguments)).exit_code for _ in range(2)]
            assert "Is kind." in json.dumps(server.asked[0])
            return codes

    assert asyncio.run(both()) == [0, 1]
