"""The diary on one machine: a real worker, a real Redis, a real socket. What one session is told, a later one knows."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.support.dev import PATIENCE, Dev, dev

DIARY = Path(__file__).parents[3] / "examples" / "diary"
pytestmark = pytest.mark.timeout(120)


def tell(running: Dev, session: str, message: str, user: str = "") -> list[dict[str, Any]]:
    with running.socket("diary", subprotocols=["role.v1"]) as socket:
        socket.send(json.dumps({"message": message, "session_id": session} | ({"user": user} if user else {})))
        events: list[dict[str, Any]] = []
        while not events or not (events[-1].get("done") or events[-1]["type"] == "error"):
            events.append(json.loads(socket.recv(timeout=PATIENCE)))
    assert events[-1].get("status") == "completed", events[-1]
    return events


def ask(running: Dev, method: str, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{running.port}/v1/roles/diary{path}", method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_diary_remembers_across_sessions_and_restarts_and_forgets_for_good(tmp_path: Path) -> None:
    data = ("--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with dev(str(DIARY), *data, folder=tmp_path) as running:
        events = tell(running, "phone", "Please remember that I met 1 dragon.", "u-17")
        [created] = [event for event in events if event["type"] == "session.created"]
        [told] = [event for event in events if event["type"] == "role.memory.committed"]
        assert (created["memory"], told["seq"], events[-1]["seq"]) == ("user", 1, 2)
        assert told["atoms"][0] == {
            "id": told["atoms"][0]["id"], "kind": "long", "text": "I met 1 dragon.", "source_turn": 1,
        }  # fmt: skip
        known = tell(running, "desk", "What do you remember about dragons?", "u-17")[-1]
        assert known["message"] == "- I met 1 dragon."
        assert tell(running, "desk", "What do you remember about dragons?", "u-18")[-1]["message"] == "Nothing."
    with dev(str(DIARY), *data, folder=tmp_path) as running:
        tell(running, "later", "I live in Oslo", "u-17")
        tell(running, "later", "I live in Rome", "u-17")
        known = tell(running, "later", "What do you remember?", "u-17")[-1]["message"]
        assert sorted(known.splitlines()) == ["- I met 1 dragon.", "- u-17 → lives in → Rome"]
        listed = ask(running, "GET", "/memories?user=u-17")["memories"]
        assert [one["text"] for one in listed] == [
            "u-17 → lives in → Rome",
            "u-17 → lives in → Oslo",
            "I met 1 dragon.",
        ]
        assert listed[1]["until_ms"] == listed[0]["since_ms"]
        receipt = ask(running, "DELETE", f"/memories/{listed[2]['id']}?user=u-17")
        assert receipt["deleted"] == {"memories": 1}
        receipt = ask(running, "DELETE", "/sessions/later?user=u-17")
        assert receipt["deleted"]["memories"] == 2
        assert tell(running, "new", "What do you remember?", "u-17")[-1]["message"] == "Nothing."
