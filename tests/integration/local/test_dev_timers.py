"""Timers on one machine: a real worker, a real Redis, a real socket; a Role that speaks of its own accord."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.support.dev import PATIENCE, Dev, dev

pytestmark = pytest.mark.timeout(120)

ROLE = """
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: friend}
spec:
  template:
    persona: {system: "You are good company."}
    logic:
      inline: |
        from rolehost import Role, State, Turn

        class Company(State):
            nudges: int = 0

        friend = Role("friend", state=Company)

        @friend.on_message
        def answer(t: Turn[Company]) -> None:
            t.say(f"You were away for {t.absent.total_seconds() > 0}.")

        @friend.on_idle("1s")
        async def nudge(t: Turn[Company]) -> None:
            t.state.nudges += 1
            t.emit("custom.mood", {"nudges": t.state.nudges})
            await t.reply("Are you there?")

        @friend.on_end
        def farewell(t: Turn[Company]) -> None:
            t.say("Goodbye.")
"""


def until_done(socket: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or not (events[-1].get("done") or events[-1]["type"] == "error"):
        events.append(json.loads(socket.recv(timeout=PATIENCE)))
    return events


def ask(running: Dev, method: str, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{running.port}/v1/roles/friend{path}", method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_role_speaks_when_nobody_does_and_its_timers_survive_a_restart(tmp_path: Path) -> None:
    role = tmp_path / "role" / "role.yaml"
    role.parent.mkdir()
    role.write_text(ROLE)
    data = ("--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with (
        dev(str(role), *data, folder=tmp_path) as running,
        running.socket("friend", subprotocols=["role.v1"]) as socket,
    ):
        socket.send(json.dumps({"message": "hello", "session_id": "abc"}))
        assert until_done(socket)[-1]["message"] == "You were away for False."
        events = until_done(socket)
        [created] = [event for event in events if event["type"] == "response.created"]
        assert (created["cause"], created["timer"]) == ("timer", "on_idle:nudge")
        [own] = [event for event in events if event["type"] == "custom"]
        assert (own["name"], own["data"]) == ("custom.mood", {"nudges": 1})
        assert (events[-1]["message"], events[-1]["timer"], events[-1]["seq"]) == (
            "Are you there?",
            "on_idle:nudge",
            own["seq"] + 1,
        )
        heard = events[-1]["seq"]
        socket.send(json.dumps({"message": "hello", "session_id": "abc"}))
        assert until_done(socket)[-1]["message"] == "You were away for True."
    with (
        dev(str(role), *data, folder=tmp_path) as running,
        # The place in the address: who comes in without it may hear the timer before it can ask for what it missed.
        running.socket(f"friend?session_id=abc&after_seq={heard}", subprotocols=["role.v1"]) as socket,
    ):
        told: list[str] = []
        while "Are you there?" not in told:
            told.append(until_done(socket)[-1]["message"])
        assert told == ["You were away for True.", "Are you there?"]
        assert ask(running, "POST", "/sessions/abc/end") == {"session_id": "abc"}
        events = until_done(socket)
        assert (events[-1]["timer"], events[-1]["message"]) == ("on_end", "Goodbye.")
        assert "timers" not in ask(running, "DELETE", "/sessions/abc")["deleted"], "its end took them"


def test_an_answer_is_shown_to_the_logic_while_it_is_given_and_ends_where_it_says_so(tmp_path: Path) -> None:
    role = tmp_path / "role" / "role.yaml"
    role.parent.mkdir()
    head, _, _ = ROLE.partition("        friend = Role(")
    role.write_text(
        head
        + """
        friend = Role("friend")

        @friend.on_delta
        def short(t: Turn) -> None:
            t.log(f"saw {len(t.delta)} characters")
            t.stop()
"""
    )
    data = ("--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with (
        dev(str(role), *data, folder=tmp_path) as running,
        running.socket("friend", subprotocols=["role.v1"]) as socket,
    ):
        message = "a long story, please, " * 20
        socket.send(json.dumps({"message": message, "session_id": "abc"}))
        done = until_done(socket)[-1]
        assert [(one["hook"], one["code"]) for one in done["degraded"]] == [("model", "stopped_by_logic")]
        assert 0 < len(done["message"]) < len(message), "some of it was said by then"
