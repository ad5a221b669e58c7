"""Logic on one machine that asks a server outside: a real worker, a real Redis, the same checks as in a cluster."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.dev import PATIENCE, Dev, dev

pytestmark = pytest.mark.timeout(120)
LOGIC = """
from rolehost import HttpFailed, Role, State, Turn

booker = Role("booker", state=State)


@booker.on_message
async def answer(t: Turn[State]) -> None:
    try:
        answer = await t.http.post(f"{t.message}/rooms?secret=1", json={"room": "blue"})
        t.say(f"{answer.status} {answer.json()['id']} {answer.headers['X-Seen']}")
    except HttpFailed as failed:
        t.say(failed.code)
"""


class Rooms(http.server.BaseHTTPRequestHandler):
    heard: list[tuple[str, str, bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append((self.path, self.headers["Idempotency-Key"], body))
        self.send_response(201)
        self.send_header("X-Seen", "yes")
        self.end_headers()
        self.wfile.write(b'{"id": 7}')

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rooms)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def tell(running: Dev, message: str) -> str:
    with running.socket("booker") as socket:
        socket.send(json.dumps({"message": message, "session_id": "s"}))
        while True:
            event = json.loads(socket.recv(timeout=PATIENCE))
            assert event["type"] != "error", event
            if event["type"] == "response.done":
                return str(event["message"])


def test_a_server_on_this_machine_is_reached_only_where_that_is_said(tmp_path: Path, server: str) -> None:
    port = server.rpartition(":")[2]
    manifest = f"""
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {{name: booker}}
spec:
  template:
    persona: {{system: You book.}}
    permissions: [model.call, "http:127.0.0.1:{port}"]
    logic: {{entrypoint: "booker:booker"}}
"""
    role = tmp_path / "role"
    role.mkdir()
    (role / "role.yaml").write_text(manifest)
    (role / "booker.py").write_text(LOGIC)
    data = ("--port", "0", "--model", "scripted", "--data", str(tmp_path / "data"))
    with dev(str(role), *data, folder=tmp_path) as running:
        assert tell(running, server) == "http_refused_address"
        assert tell(running, "https://api.acme.com") == "http_not_granted"
    assert Rooms.heard == []
    with dev(str(role), *data, folder=tmp_path, environment={"ROLEHOST_REACH_ALLOWED_CIDRS": "127.0.0.0/8"}) as running:
        assert tell(running, server) == "201 7 yes"
        assert tell(running, server) == "201 7 yes"
        assert "secret" not in "".join(running.printed)
    (path, key, body), (_, other, _) = Rooms.heard
    assert (path, body) == ("/rooms?secret=1", b'{"room":"blue"}')
    assert key.startswith("rh-")
    assert key != other
