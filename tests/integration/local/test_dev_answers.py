"""`rolehost dev` as a newcomer starts it: a real process, a real Redis, a real WebSocket."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.dev import PATIENCE, STORYTELLER, Dev, dev
from websockets.sync.client import ClientConnection

from rolehost.cli import main

FRAME = '{"message": "讲一个关于龙的短故事", "session_id": "abc123"}'
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the example that a test may edit."""
    folder = tmp_path / "storyteller"
    shutil.copytree(STORYTELLER, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return folder


@pytest.fixture
def started(checkout: Path, tmp_path: Path) -> Iterator[Dev]:
    with dev(str(checkout), "--port", "0", "--model", "scripted", folder=tmp_path) as running:
        yield running


def turn(socket: ClientConnection, frame: str = FRAME) -> list[dict[str, Any]]:
    """Send one frame and read to the one with `done`."""
    socket.send(frame)
    events: list[dict[str, Any]] = []
    while not events or not (events[-1].get("done") or events[-1]["type"] == "error"):
        events.append(json.loads(socket.recv(timeout=PATIENCE)))
    assert events[-1]["type"] == "response.done", events[-1]
    assert events[-1]["status"] == "completed", events[-1]
    return events


def said(text: str) -> str:
    return json.dumps({"message": text, "session_id": "abc123"}, ensure_ascii=False)


def test_the_frame_of_the_first_description_streams_a_story_to_done(started: Dev) -> None:
    with started.socket() as socket:
        events = turn(socket)
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    done = events[-1]
    assert len(deltas) > 5
    assert "".join(deltas) == done["message"]
    assert "龙" in done["message"]
    assert done["session_id"] == "abc123"
    assert not any(event["type"].startswith(("role.", "channel.")) for event in events), "the bare dialect"


def test_a_session_is_remembered_after_a_reconnect(started: Dev) -> None:
    with started.socket() as socket:
        turn(socket)
    with started.socket() as socket:
        done = turn(socket, said("and now?"))[-1]
    assert "讲一个关于龙的短故事" in done["message"]


def test_another_session_remembers_nothing_of_it(started: Dev) -> None:
    with started.socket() as socket:
        turn(socket)
        other = turn(socket, json.dumps({"message": "and now?", "session_id": "other"}))[-1]
    assert "龙" not in other["message"]


def test_a_users_session_is_reached_by_their_token_and_by_who_acts_for_them(started: Dev) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", started.port, timeout=10)) as client:
        client.request("POST", "/v1/tokens", json.dumps({"user": "u-17", "role": "storyteller"}))
        token = json.loads(client.getresponse().read())["token"]
    with started.socket() as socket:
        turn(socket, json.dumps({"message": "one", "session_id": "s", "user": "u-17"}))
        assert "one" not in turn(socket, json.dumps({"message": "and now?", "session_id": "s"}))[-1]["message"]
    with started.socket(subprotocols=["role.v1", f"bearer.{token}"]) as socket:
        assert "one" in turn(socket, json.dumps({"message": "and now?", "session_id": "s"}))[-1]["message"]


def test_state_and_prints_of_the_logic_are_seen(started: Dev) -> None:
    with started.socket(subprotocols=["role.v1"]) as socket:
        events = turn(socket)
    (delta,) = (event for event in events if event["type"] == "role.state.delta")
    assert {op["path"]: op["value"] for op in delta["patch"]} == {"/stories": 1, "/dragons": 1}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", started.port, timeout=10)) as client:
        client.request("GET", "/v1/roles/storyteller/logs")
        lines = [json.loads(line) for line in client.getresponse().read().splitlines()]
    assert any("dragon 1 of this session" in line["text"] for line in lines)


def test_an_edit_is_answered_by_the_new_revision_in_the_open_session(started: Dev, checkout: Path) -> None:
    with started.socket(subprotocols=["role.v1"]) as socket:
        first = turn(socket)[-1]
        source = (checkout / "story.py").read_text()
        (checkout / "story.py").write_text(source.replace("await t.reply(t.ask())", 'await t.reply("edited")'))
        started.until(r"@r2 serves")
        second = turn(socket, said("again"))[-1]
        text = (checkout / "role.yaml").read_text()
        (checkout / "role.yaml").write_text(text.replace("by the fire", "by the sea"))
        started.until(r"@r3 serves")
        third = turn(socket, said("once more"))[-1]
    assert second["message"] == "edited"
    assert len({first["revision"], second["revision"], third["revision"]}) == 3


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        pytest.param("story.py", "def f(:\n", r"story\.py:1: ", id="does-not-parse"),
        pytest.param(
            "story.py", "x = 1\nraise ValueError('secret')\n", r"story\.py:2: ValueError", id="raises-at-import"
        ),
        pytest.param("story.py", "x = 1\n", r"storyteller: .*entrypoint", id="no-such-object"),
        pytest.param("role.yaml", None, r"Did you mean `displayName`\?", id="typo-in-the-manifest"),
    ],
)
def test_a_broken_edit_is_told_and_the_revision_before_goes_on(
    started: Dev, checkout: Path, file: str, text: str | None, told: str
) -> None:
    before = (checkout / file).read_text()
    with started.socket() as socket:
        turn(socket)
        (checkout / file).write_text(text or before.replace("displayName", "displayname"))
        started.until(told)
        started.until("the revision before goes on serving")
        assert "龙" in turn(socket)[-1]["message"]
        seen = len(started.printed)
        (checkout / file).write_text(before.replace("by the fire", "by the sea") + "\n# mended\n")
        started.until(r"@r\d+ serves", since=seen)
        assert "龙" in turn(socket)[-1]["message"]


@pytest.mark.parametrize(
    "depth", [pytest.param(1, id="data-nearby"), pytest.param(12, id="path-too-long-for-a-socket")]
)
def test_a_session_outlives_a_restart_and_a_kill_and_nothing_else_does(
    checkout: Path, tmp_path: Path, depth: int
) -> None:
    data, temporary = tmp_path.joinpath(*["data-of-rolehost"] * depth), tmp_path / "t"
    temporary.mkdir()
    arguments = (str(checkout), "--port", "0", "--data", str(data), "--model", "openai/x")
    environment = {"TMPDIR": str(temporary), "OPENAI_API_KEY": "sk-only-here", "OPENAI_BASE_URL": "http://127.0.0.1:1"}
    with dev(*arguments, folder=tmp_path, environment=environment) as killed:
        killed.process.kill()
        killed.process.wait(10)
    arguments = (*arguments[:-1], "scripted")
    with dev(*arguments, folder=tmp_path, environment={"TMPDIR": str(temporary)}) as first, first.socket() as socket:
        turn(socket, said("a red dragon"))
        first.process.kill()
        first.process.wait(10)
    with dev(*arguments, folder=tmp_path, environment={"TMPDIR": str(temporary)}) as second:
        with second.socket() as socket:
            assert "a red dragon" in turn(socket, said("and now?"))[-1]["message"]
        assert not (data / "run" / "keys").exists()
        assert len(list((data / "run" / "pods").iterdir())) == 1
        assert second.stop() == 0
    assert not (data / "run").exists()
    assert list(temporary.iterdir()) == []
    with dev(*arguments, folder=tmp_path) as third, third.socket() as socket:
        assert "and now?" in turn(socket, said("still there?"))[-1]["message"]


def test_a_foreign_page_and_a_foreign_name_are_refused(started: Dev) -> None:
    with started.socket(origin="http://evil.example") as socket:
        assert json.loads(socket.recv(timeout=PATIENCE))["error"]["code"] == "origin_not_allowed"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", started.port, timeout=10)) as client:
        client.request("GET", "/v1/roles", headers={"Host": "evil.example"})
        assert client.getresponse().status == 403


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/bundles"), ("POST", "/v1/roles:check")])
def test_nothing_can_be_uploaded(started: Dev, method: str, path: str) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", started.port, timeout=10)) as client:
        client.request(method, path, body=b"x")
        assert client.getresponse().status in (404, 405)


def test_the_page_and_its_parts_are_served_under_a_strict_policy(started: Dev) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", started.port, timeout=10)) as client:
        for path in ("/", "/app.js", "/panes.js", "/underneath.js", "/style.css"):
            client.request("GET", path)
            answer = client.getresponse()
            body = answer.read().decode()
            assert answer.status == 200
            assert "default-src 'none'" in str(answer.headers["content-security-policy"])
            assert "innerHTML" not in body
            assert " style=" not in body


def test_a_new_role_answers_outside_of_the_repository(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["new", "cat", str(tmp_path / "cat")]).exit_code == 0
    with dev("--port", "0", "--model", "scripted", folder=tmp_path / "cat") as running:
        with running.socket("cat") as socket:
            assert "hello" in turn(socket, said("hello"))[-1]["message"]
        told = subprocess.run(
            [sys.executable, "-m", "rolehost.cli", "chat", "cat", "-m", "me again", "--session", "abc123"],
            env={**os.environ, "ROLEHOST_URL": f"http://127.0.0.1:{running.port}"},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        assert "hello" in told
        unknown = subprocess.run(
            [sys.executable, "-m", "rolehost.cli", "chat", "dog", "-m", "hi"],
            env={**os.environ, "ROLEHOST_URL": f"http://127.0.0.1:{running.port}"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert unknown.returncode == 1
        assert "(role_not_found)" in unknown.stderr
        assert "Traceback" not in unknown.stderr
        logs = subprocess.run(
            [sys.executable, "-m", "rolehost.cli", "logs", "cat", "--url", f"http://127.0.0.1:{running.port}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        assert "message 2 of this session" in logs


def test_a_role_without_python_answers(tmp_path: Path) -> None:
    cat = STORYTELLER.parent / "cat"
    with (
        dev(str(cat), "--port", "0", "--model", "scripted", folder=tmp_path) as running,
        running.socket("cat") as socket,
    ):
        assert "meow?" in turn(socket, said("meow?"))[-1]["message"]


def test_two_of_them_on_one_data_folder_are_refused(started: Dev, checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rolehost.cli", "dev", str(checkout), "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "in use by another" in done.stderr


def test_no_process_stays_behind(checkout: Path, tmp_path: Path) -> None:
    mark = f"MARK-{time.monotonic_ns()}"
    with dev(
        str(checkout),
        "--port",
        "0",
        "--model",
        "scripted",
        folder=tmp_path,
        environment={"TMPDIR": str(tmp_path), "LANG": mark},
    ) as running:
        with running.socket() as socket:
            turn(socket)
        assert marked(mark)
        assert running.stop() == 0
    assert marked(mark) == []


def marked(mark: str) -> list[int]:
    """Processes with the mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def test_a_model_behind_the_openai_wire_is_asked_with_the_key_of_the_environment(
    checkout: Path, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(str(self.headers["Authorization"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for word in ("一", "条", "龙"):
                chunk = {"choices": [{"delta": {"content": word}, "index": 0, "finish_reason": None}]}
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            last = {"choices": [{"delta": {}, "index": 0, "finish_reason": "stop"}]}
            self.wfile.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {"OPENAI_API_KEY": "sk-only-here", "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1"}
    try:
        with dev(str(checkout), "--port", "0", folder=tmp_path, environment=environment) as running:
            with running.socket() as socket:
                assert turn(socket)[-1]["message"] == "一条龙"
            assert "sk-only-here" not in "".join(running.printed)
    finally:
        server.shutdown()
        server.server_close()
    assert seen == ["Bearer sk-only-here"]
