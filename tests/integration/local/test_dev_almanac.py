"""The almanac, a Role with tools, through the whole of `rolehost dev`: a scripted model calls what runs in a worker."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.dev import PATIENCE, STORYTELLER, dev
from websockets.sync.client import ClientConnection

ALMANAC = STORYTELLER.with_name("almanac")
pytestmark = pytest.mark.timeout(120)


def done(socket: ClientConnection, message: str) -> dict[str, Any]:
    socket.send(json.dumps({"type": "message", "message": message, "session_id": "days"}))
    while True:
        event: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE))
        assert event["type"] != "error", event
        if event.get("done"):
            return event


def test_tools_run_in_the_worker_and_their_words_are_the_answer(tmp_path: Path) -> None:
    folder = tmp_path / "almanac"
    shutil.copytree(ALMANAC, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    manifest = folder / "role.yaml"
    manifest.write_text(manifest.read_text() + (folder / "script.yaml").read_text())
    options = (str(folder), "--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with dev(*options, folder=tmp_path) as running, running.socket("almanac", subprotocols=["role.v1"]) as socket:
        moon = done(socket, "what does the moon do?")
        assert moon["message"] == "My page says: 2030-01-04: new moon, 0 % lit."
        assert moon["tools"] == [{"name": "moon", "outcome": "ok"}]
        kept = done(socket, "keep the garlic in mind")
        assert "keep the garlic in mind" in kept["message"], "the second tool reads what the first one wrote"
        assert [one["outcome"] for one in kept["tools"]] == ["ok", "ok"]
        unknown = done(socket, "and the weather?")
        assert unknown["message"] == "I cannot say. There is no such tool."
        assert unknown["tools"] == [{"name": "other", "outcome": "unknown_tool"}]
        assert done(socket, "hello")["tools"] is None
