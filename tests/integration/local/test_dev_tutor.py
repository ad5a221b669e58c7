"""The tutor, a Role of YAML alone, through the whole of `rolehost dev`: from the manifest to the events of its graph."""

import contextlib
import http.client
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.dev import PATIENCE, STORYTELLER, Dev, dev
from websockets.sync.client import ClientConnection

TUTOR = STORYTELLER.with_name("tutor")
pytestmark = pytest.mark.timeout(120)


def turn(socket: ClientConnection, message: str) -> list[dict[str, Any]]:
    """Say it, and hear to the end of the answer."""
    socket.send(json.dumps({"type": "message", "message": message, "session_id": "lesson"}))
    events: list[dict[str, Any]] = []
    while not events or not (events[-1].get("done") or events[-1]["type"] == "error"):
        events.append(json.loads(socket.recv(timeout=PATIENCE)))
    assert events[-1].get("status") == "completed", events[-1]
    return events


def steps(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["from"], event["to"]) for event in events if event["type"] == "role.behavior.transition"]


def started(events: list[dict[str, Any]]) -> Any:
    return next(event["behavior"] for event in events if event["type"] == "response.created")


def state(running: Dev) -> dict[str, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)) as client:
        client.request("GET", "/v1/roles/tutor/sessions/lesson/state")
        found: dict[str, Any] = json.loads(client.getresponse().read())
        return found


def test_a_lesson_goes_on_over_a_restart_and_an_edit(tmp_path: Path) -> None:
    folder = tmp_path / "tutor"
    shutil.copytree(TUTOR, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    options = (str(folder), "--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with dev(*options, folder=tmp_path) as running:
        with running.socket("tutor", subprotocols=["role.v1"]) as socket:
            assert (started(events := turn(socket, "hi")), steps(events)) == (None, [])
            assert (started(events := turn(socket, "how do tides work?")), steps(events)) == (
                "Greet", [("Greet", "Explain")],
            )  # fmt: skip
        with running.socket("tutor") as socket:
            assert not any(event["type"].startswith("role.") for event in turn(socket, "quiz me")), "the bare dialect"
        assert (state(running)["nodes"], state(running)["state"]["asked"]) == ({"main": "Quiz"}, 1)
    with dev(*options, folder=tmp_path) as running, running.socket("tutor", subprotocols=["role.v1"]) as socket:
        events = turn(socket, "because of the moon")
        assert (started(events), steps(events)) == ("Quiz", [("Quiz", "Praise")])
        asked = [event["seq"] for event in events if event["seq"] is not None]
        assert asked == list(range(asked[0], asked[0] + 3))
        manifest = folder / "role.yaml"
        manifest.write_text(manifest.read_text().replace("Praise", "Cheer"))
        running.until(r"@r2 serves")
        events = turn(socket, "on and on")
        why = [event["edge"]["why"] for event in events if event["type"] == "role.behavior.transition"]
        assert (started(events), steps(events), why) == ("Praise", [("Praise", "Greet")], ["node_gone"])
        assert state(running)["state"] == {"asked": 1, "right": 1}
