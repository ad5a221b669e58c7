"""What no server of ours sends yet, on real sockets: an urgent channel, a degraded one, and a move; for both libraries."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from rolehost.client import Refused, connect

LIBRARY = Path(__file__).parents[3] / "runtime/rolehost_runtime/gateway/edge/page/rolehost.js"
POLL = "/v1/roles/cat/sessions/s/state"


class Odd:
    """A server that says what ours does not say yet. The second connection is an easy one, the third is refused."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[tuple[str, str]] = []
        """Path and Authorization of each poll."""
        self.opened: list[str] = []
        """Key of each connection, however it was shown."""
        self.heard: list[dict[str, Any]] = []

    def http(self, connection: ServerConnection, request: Request) -> Response | None:
        if not request.path.startswith("/v1/"):
            return None
        if "Authorization" in request.headers:  # a browser's preflight has none
            self.asked.append((request.path, request.headers["Authorization"]))
        body = json.dumps({"version": 7, "state": {"n": 7}}).encode()
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        return Response(HTTPStatus.OK, "OK", Headers(sent), body)

    async def talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        protocols = socket.request.headers.get("Sec-WebSocket-Protocol", "")
        shown = socket.request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.opened.append(shown or protocols.partition("bearer.")[2])
        first = len(self.opened) == 1
        if len(self.opened) > 2:
            await self.refuse(socket)
            return
        await self.tell(socket, "session.created", head=0, version=3, role="cat@r1", heartbeat_ms=60_000)
        if first:
            await self.tell(socket, "channel.urgent", is_urgent=True, heartbeat_ms=100)
            await self.tell(socket, "channel.degraded", mode="ws+poll", poll=f"{POLL}?after_version=3", poll_ms=100)
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                await self.answer(socket, json.loads(text), first=first)

    async def answer(self, socket: ServerConnection, frame: dict[str, Any], *, first: bool) -> None:
        self.heard.append(frame)
        match frame["type"]:
            case "ping":
                await self.tell(socket, "pong", t=frame["t"], server_t=0)
                if first and len(self.asked) >= 2:
                    await self.tell(socket, "session.migrate", reconnect_after_ms=50, reason="drain")
                    await socket.close(1012, "moved")
            case "session.resume":
                await self.tell(socket, "session.resumed", from_seq=1, to_seq=0, gap=False)
            case "message" if not first:
                if frame["message"] == "key":
                    await self.refuse(socket)
                    return
                ids = {"response_id": "r1", "client_msg_id": frame["client_msg_id"]}
                await self.tell(socket, "response.done", seq=1, status="completed", done=True, message="here", **ids)

    async def refuse(self, socket: ServerConnection) -> None:
        error = {"code": "key_revoked", "message": "the key was revoked", "retryable": False}
        await self.tell(socket, "error", error=error)
        await socket.close(4401, "key_revoked")

    async def tell(self, socket: ServerConnection, kind: str, *, seq: int | None = None, **more: Any) -> None:
        await socket.send(json.dumps({"type": kind, "session_id": "s", "seq": seq, "ts": 0, **more}))

    def check(self, key: str) -> None:
        assert self.opened == [key, key, key], "a token that is refused is made anew once"
        assert [frame["type"] for frame in self.heard].count("ping") >= 2
        paths = [urlsplit(path) for path, _ in self.asked]
        assert {path.path for path in paths} == {POLL}
        assert [path.query for path in paths][:2] == ["after_version=3", "after_version=7"]
        assert {shown for _, shown in self.asked} == {f"Bearer {key}"}
        assert any(frame["type"] == "session.resume" for frame in self.heard)


@pytest.fixture
async def odd() -> AsyncIterator[Odd]:
    made = Odd()
    protocols = [Subprotocol("role.v1")]
    async with serve(made.talk, "127.0.0.1", 0, process_request=made.http, subprotocols=protocols) as server:
        made.port = next(iter(server.sockets)).getsockname()[1]
        yield made


async def test_in_python(odd: Odd) -> None:
    made: list[str] = []

    async def fresh() -> str:
        made.append("of-the-end-user")
        if len(made) == 2:
            raise RuntimeError("whoever makes tokens is away")
        return made[-1]

    async with connect(f"ws://127.0.0.1:{odd.port}", "cat", token=fresh, session_id="s") as session:
        assert (await session.say("hello")).text == "here"
        assert session.state == (7, {"n": 7})
        assert session.rtt_ms is not None
        assert session.connected
        with pytest.raises(Refused) as refused:
            await session.say("key")
        assert refused.value.code == "key_revoked"
        with pytest.raises(Refused):
            await session.say("and after it")
        assert not session.connected
    assert len(made) == 4
    odd.check("of-the-end-user")


SCRIPT = """
import { connect } from "%s";
let made = 0;
const token = async () => {
  made += 1;
  if (made === 2) throw new Error("whoever makes tokens is away");
  return "of-the-end-user";
};
const session = connect("http://127.0.0.1:%d", "cat", { token, sessionId: "s" });
const { text } = await session.say("hello");
const { state, rtt_ms, connected } = session;
const code = await session.say("key").catch((error) => error.code);
const after = await session.say("and after it").catch((error) => error.code);
console.log(JSON.stringify({ text, state, measured: rtt_ms !== null, connected, code, after, still: session.connected }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node on this machine")
async def test_in_node(odd: Odd) -> None:
    node = await asyncio.create_subprocess_exec(
        "node", "--experimental-websocket", "--input-type=module",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(node.communicate((SCRIPT % (LIBRARY.as_uri(), odd.port)).encode()), 25)
    assert node.returncode == 0, err.decode()
    assert json.loads(out) == {
        "text": "here",
        "state": {"version": 7, "values": {"n": 7}},
        "measured": True,
        "connected": True,
        "code": "key_revoked",
        "after": "key_revoked",
        "still": False,
    }
    odd.check("of-the-end-user")
