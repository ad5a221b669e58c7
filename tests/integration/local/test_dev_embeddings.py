"""`rolehost dev --embeddings local`: memories are found by what they mean, by a model on this machine."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.dev import PATIENCE, Dev, dev

needs_model = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="pip install 'rolehost[embeddings]'"
)
pytestmark = pytest.mark.timeout(120)
ROLE = """
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: friend}
spec:
  template:
    persona: {system: You are a friend.}
    memory: {embeddings: {backend: meanings}}
    logic:
      inline: |
        from rolehost import Role
        friend = Role("friend")
        @friend.on_message
        async def listen(t):
            if t.message.startswith("?"):
                t.say("; ".join(one.text for one in await t.memory.recall(t.message[1:], k=1)) or "nothing")
            else:
                t.memory.remember(t.message)
                t.say("noted")
"""


def say(running: Dev, message: str) -> str:
    with running.socket("friend") as socket:
        socket.send(json.dumps({"message": message, "session_id": "s", "user": "ann"}))
        events: list[dict[str, Any]] = []
        while not events or not (events[-1].get("done") or events[-1]["type"] == "error"):
            events.append(json.loads(socket.recv(timeout=PATIENCE)))
    return str(events[-1].get("message"))


def folder(tmp_path: Path) -> tuple[str, ...]:
    made = tmp_path / "friend"
    made.mkdir()
    (made / "role.yaml").write_text(ROLE)
    return str(made), "--port", "0", "--model", "scripted", "--data", str(tmp_path / "data")


@needs_model
def test_what_shares_no_word_with_the_question_is_found(tmp_path: Path) -> None:
    with dev(*folder(tmp_path), "--embeddings", "local", folder=tmp_path) as running:
        for told in ("Spiders frighten me", "My sister bakes bread", "Our car is blue"):
            assert say(running, told) == "noted"
        assert say(running, "?Which animals make her afraid") == "Spiders frighten me"
        assert say(running, "?What colour has the vehicle") == "Our car is blue"


def test_another_word_than_local_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rolehost.cli", "dev", *folder(tmp_path), "--embeddings", "cloud"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "is local" in done.stderr + done.stdout
