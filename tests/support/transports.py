"""Every way in, spoken by hand: each says a message, cuts an answer short, hears what others do, comes back after an
event, and tells what it heard.

What a way in cannot show is in its `cannot`, with the reason; whoever adds one adds it to
WAYS, and the golden conversations hold it to the rest.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

import aiohttp
import msgspec
from tests.support import rpc
from tests.support.rooms import ACME
from tests.support.sse import listening
from tests.support.talking import KEYS, Talkers
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

KEY = KEYS[ACME]
BEARER = {"Authorization": f"Bearer {KEY}"}
Event = dict[str, Any]


class Gap(Enum):
    """What a way in may be unable to show."""

    DELTAS = "the text as it comes"
    STATE = "changes of the state, and of the node that the session is in"
    STATE_AGAIN = "the change of the state, to who says a message again that was answered"
    MISSED = "what was missed"
    REPLAY = "that an event was told before"
    CANCEL = "a cancel"
    AMENDS = "that less was heard of an answer"
    BUSY = "a busy_policy"


ONE_IN_ONE_OUT = "a request is a message; to cut its answer short takes a socket of the same session"


@dataclass
class Heard:
    """What came of one step."""

    events: list[Event] = field(default_factory=list)
    """Those that are in the log."""
    text: str = ""
    """As it came in pieces."""
    failed: str = ""
    """Code of what the turn failed with."""
    retryable: bool = False

    def take(self, event: Event) -> None:
        if event["type"] == "response.output_text.delta":
            self.text += event["delta"]
        elif event.get("error") is not None:
            self.failed, self.retryable = event["error"]["code"], event["error"]["retryable"]
        elif event["seq"] is not None:
            self.events.append(event)


class Way(ABC):
    """One client of one session. `async with` lets go of what it holds."""

    name: str
    cannot: Mapping[Gap, str] = {}

    def __init__(self, house: Talkers, session_id: str) -> None:
        self._house, self._session_id = house, session_id
        self._held = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._held.aclose()

    @abstractmethod
    async def say(self, message: str, client_msg_id: str, **more: str) -> Heard:
        """One message, to the end of its turn. `more`: other fields of it."""

    async def cancel(self, response_id: str, chars: int) -> None:
        """The user heard so much of this response, and wants no more."""
        raise NotImplementedError

    @abstractmethod
    async def overhear(self, act: Callable[[], Awaitable[None]], last_seq: int) -> Heard:
        """What it is told up to `last_seq` while `act` happens, without asking for it by a message."""

    @abstractmethod
    async def come_back(self, after_seq: int, last_seq: int) -> Heard:
        """Away, and here again after that event: what it is told, up to `last_seq`."""


class WebSocketText(Way):
    name = "WebSocket, JSON"
    subprotocols: tuple[Subprotocol, ...] = (Subprotocol("role.v1"),)
    query = ""

    async def say(self, message: str, client_msg_id: str, **more: str) -> Heard:
        socket = self._socket = getattr(self, "_socket", None) or await self._connected()
        said = {"message": message, "session_id": self._session_id, "client_msg_id": client_msg_id, **more}
        await socket.send(self._frame(said))
        heard = Heard()
        while True:
            event = await self._event(socket)
            heard.take(event)
            if event["type"] in ("response.done", "error"):
                return heard

    async def cancel(self, response_id: str, chars: int) -> None:
        cancel = {"type": "response.cancel", "session_id": self._session_id, "response_id": response_id}
        await self._socket.send(self._frame({**cancel, "heard": {"chars": chars}}))

    async def overhear(self, act: Callable[[], Awaitable[None]], last_seq: int) -> Heard:
        await act()
        return await self._until(last_seq)

    async def come_back(self, after_seq: int, last_seq: int) -> Heard:
        await self._held.aclose()
        self._socket = await self._connected(f"&session_id={self._session_id}&after_seq={after_seq}")
        return await self._until(last_seq)

    async def _until(self, last_seq: int) -> Heard:
        heard = Heard()
        while not heard.events or heard.events[-1]["seq"] < last_seq:
            heard.take(await self._event(self._socket))
        return heard

    async def _connected(self, more: str = "") -> ClientConnection:
        url = f"{self._house.ws}/role/cat?stream=1{self.query}{more}"
        return await self._held.enter_async_context(
            connect(url, additional_headers=BEARER, subprotocols=self.subprotocols or None)
        )

    async def _event(self, socket: ClientConnection) -> Event:
        event: Event = json.loads(await asyncio.wait_for(socket.recv(), 10))
        return event

    def _frame(self, fields: Event) -> str | bytes:
        return json.dumps(fields)


class WebSocketPacked(WebSocketText):
    name = "WebSocket, msgpack"
    query = "&fmt=msgpack"

    async def _event(self, socket: ClientConnection) -> Event:
        event: Event = msgspec.msgpack.decode(await asyncio.wait_for(socket.recv(decode=False), 10))
        return event

    def _frame(self, fields: Event) -> bytes:
        return msgspec.msgpack.encode(fields)


class WebSocketBare(WebSocketText):
    name = "WebSocket, bare"
    subprotocols = ()
    cannot = {
        Gap.STATE: "without a subprotocol a client hears what it was first described with, and no more",
        Gap.STATE_AGAIN: "as above",
        Gap.AMENDS: "as above",
    }


class EventStream(Way):
    name = "SSE"
    cannot = {Gap.CANCEL: ONE_IN_ONE_OUT}

    async def say(self, message: str, client_msg_id: str, **more: str) -> Heard:
        said = {"message": message, "session_id": self._session_id, "client_msg_id": client_msg_id, **more}
        heard = Heard()
        async with listening(f"{self._house.url}/role/cat", KEY, said=said) as stream:
            for event in await stream.rest():
                heard.take(event)
        return heard

    async def come_back(self, after_seq: int, last_seq: int) -> Heard:
        return await self._followed(last_seq, after_seq=after_seq)

    async def overhear(self, act: Callable[[], Awaitable[None]], last_seq: int) -> Heard:
        return await self._followed(last_seq, act=act)

    async def _followed(
        self, last_seq: int, *, after_seq: int | None = None, act: Callable[[], Awaitable[None]] | None = None
    ) -> Heard:
        heard = Heard()
        url = f"{self._house.url}/role/cat?session_id={self._session_id}"
        async with listening(url, KEY, last_id="" if after_seq is None else str(after_seq)) as stream:
            if act is not None:
                greeting = await stream.next()
                assert greeting is not None
                assert greeting["type"] == "session.created"
                await act()
            while not heard.events or heard.events[-1]["seq"] < last_seq:
                event = await stream.next()
                assert event is not None
                heard.take(event)
        return heard


class Rest(Way):
    name = "REST and long-poll"
    cannot = {
        Gap.DELTAS: "an answer comes whole",
        Gap.STATE_AGAIN: "the answer to a message is its response.done; the rest is read by its number",
        Gap.REPLAY: "what is read from the log is all marked as read from the log",
        Gap.CANCEL: ONE_IN_ONE_OUT,
    }
    _known = 0

    async def say(self, message: str, client_msg_id: str, **more: str) -> Heard:
        heard = Heard()
        said = {"message": message, "session_id": self._session_id, "client_msg_id": client_msg_id, **more}
        waiting = asyncio.create_task(self._poll(30)) if self._known else None
        done = await self._ask("POST", "/role/cat", json=said)
        if "error" in done and done.get("type") is None:
            if waiting is not None:
                waiting.cancel()
            heard.take({"type": "error", **done})
            return heard
        if done["seq"] <= self._known:
            heard.take(done)
            return heard
        if waiting is not None:
            await self._noted(heard, await waiting)
        while self._known < done["seq"]:
            await self._noted(heard, await self._poll(30))
        assert heard.events[-1]["message"] == done["message"]
        return heard

    async def overhear(self, act: Callable[[], Awaitable[None]], last_seq: int) -> Heard:
        waiting, heard = asyncio.create_task(self._poll(30)), Heard()
        await act()
        await self._noted(heard, await waiting)
        while self._known < last_seq:
            await self._noted(heard, await self._poll(30))
        return heard

    async def come_back(self, after_seq: int, last_seq: int) -> Heard:
        self._known, heard = after_seq, Heard()
        while self._known < last_seq:
            await self._noted(heard, await self._poll(0))
        return heard

    async def _poll(self, wait: int) -> Event:
        path = f"/v1/roles/cat/sessions/{self._session_id}/events?after_seq={self._known}&wait={wait}"
        return await self._ask("GET", path)

    async def _noted(self, heard: Heard, page: Event) -> None:
        for event in page["events"]:
            heard.take(event)
        self._known = page["last_seq"]

    async def _ask(self, method: str, path: str, **more: Any) -> Event:
        url = self._house.url + path
        async with aiohttp.ClientSession() as http, http.request(method, url, headers=BEARER, **more) as got:
            answer: Event = json.loads(await got.read())
            return answer


class Facade(Way):
    name = "OpenAI facade, stream"
    streams = True
    cannot = {
        Gap.STATE_AGAIN: "the answer to a message that was answered is its text and its end",
        Gap.MISSED: "their clients know messages, not events; any other way in tells of the same session",
        Gap.REPLAY: "as above",
        Gap.CANCEL: ONE_IN_ONE_OUT,
        Gap.AMENDS: "as above: a message that is theirs cannot be taken back",
        Gap.BUSY: "their requests have no word for it: a message waits in line",
    }

    async def say(self, message: str, client_msg_id: str, **more: str) -> Heard:
        if more:
            raise NotImplementedError
        body = {
            "model": "cat", "messages": [{"role": "user", "content": message}], "session_id": self._session_id,
            "stream": self.streams,
        }  # fmt: skip
        headers = {**BEARER, "Idempotency-Key": client_msg_id}
        url = f"{self._house.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as got:
            raw = await got.read()
            again = got.headers.get("x-should-retry") == "true"
        heard = Heard()
        if not raw.startswith(b"data:"):
            answer = json.loads(raw)
            failure = {"type": "error", "error": {**answer["error"], "retryable": again}} if "error" in answer else None
            heard.take(failure or answer["role"])
            return heard
        for block in raw.decode().split("\n\n"):
            if block.startswith("data: {"):
                chunk = json.loads(block.removeprefix("data: "))
                heard.text += "".join(choice["delta"].get("content", "") for choice in chunk["choices"])
                if "role" in chunk:
                    heard.take(chunk["role"])
        return heard

    async def overhear(self, act: Callable[[], Awaitable[None]], last_seq: int) -> Heard:
        raise NotImplementedError

    async def come_back(self, after_seq: int, last_seq: int) -> Heard:
        raise NotImplementedError


class FacadeWhole(Facade):
    name = "OpenAI facade, whole"
    streams = False
    cannot = {
        **Facade.cannot,
        Gap.DELTAS: "an answer comes whole",
        Gap.STATE: "an answer has one event of ours, its end",
    }


class Grpc(Way):
    name = "gRPC"
    _talking: rpc.Talking | None = None

    async def say(self, message: str, client_msg_id: str, **more: str) -> Heard:
        talking = self._talking = self._talking or await self._opened()
        await talking.send(rpc.said(message, session_id=self._session_id, client_msg_id=client_msg_id, **more))
        heard = Heard()
        while True:
            event = await self._event(talking)
            heard.take(event)
            if event["type"] in ("response.done", "error"):
                return heard

    async def cancel(self, response_id: str, chars: int) -> None:
        assert self._talking is not None
        heard = {"heard": {"chars": chars}}
        await self._talking.send(rpc.cancel(response_id, session_id=self._session_id, **heard))

    async def overhear(self, act: Callable[[], Awaitable[None]], last_seq: int) -> Heard:
        await act()
        assert self._talking is not None
        return await self._until(self._talking, last_seq)

    async def come_back(self, after_seq: int, last_seq: int) -> Heard:
        await self._held.aclose()
        self._talking = await self._opened(session_id=self._session_id, after_seq=after_seq)
        return await self._until(self._talking, last_seq)

    async def _until(self, talking: rpc.Talking, last_seq: int) -> Heard:
        heard = Heard()
        while not heard.events or heard.events[-1]["seq"] < last_seq:
            heard.take(await self._event(talking))
        return heard

    async def _opened(self, **more: Any) -> rpc.Talking:
        made = await self._held.enter_async_context(rpc.client(self._house.grpc.port, KEY))
        talking = made.converse()
        await talking.send(rpc.opened("cat", **more))
        return talking

    async def _event(self, talking: rpc.Talking) -> Event:
        return {"seq": None, **await asyncio.wait_for(talking.next(), 10)}


WAYS: tuple[type[Way], ...] = (
    WebSocketText, WebSocketPacked, WebSocketBare, EventStream, Rest, Facade, FacadeWhole, Grpc,
)  # fmt: skip
