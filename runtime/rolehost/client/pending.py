"""One answer on its way: await it for the whole, or iterate it for the pieces as they come."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from rolehost.client.backlog import DELTA
from rolehost.client.errors import ClientError, TurnFailed, raised
from rolehost.client.frames import Frame, error_of
from rolehost_api.wire import DegradedHook, Metrics, Usage


class Reply(Struct, frozen=True, kw_only=True):
    """A whole answer."""

    text: str
    """What the Role said; of a cancelled one only the part that was heard."""
    status: Literal["completed", "cancelled"] = "completed"
    response_id: str = ""
    seq: int | None = None
    """Number of its event in the session's log; None for what was cancelled before it was begun."""
    revision: str = ""
    usage: Usage = Usage()
    metrics: Metrics = Metrics()
    degraded: tuple[DegradedHook, ...] = ()
    """Hooks that the answer went on without."""
    trace_id: str = ""
    """Of the turn's trace: what to name to whoever runs the platform. Empty where it traces nothing, and on replay."""


class Delta(str):
    """A piece of an answer. `reset`: the answer was begun anew, so whatever was shown before this piece is void."""

    offset: int
    """Characters of the answer that came before it."""
    reset: bool

    def __new__(cls, text: str, offset: int, *, reset: bool = False) -> Self:
        made = super().__new__(cls, text)
        made.offset, made.reset = offset, reset
        return made


class Pending:
    """What `say` returns. `await` gives the Reply or raises ClientError; `async for` gives the Deltas, then the same."""

    def __init__(self, client_msg_id: str, cancel: Callable[[str, int | None, int | None], None]) -> None:
        self.client_msg_id = client_msg_id
        self._cancel = cancel
        self._pieces: list[str] = []
        self._begun = 0
        """How often it was begun."""
        self._reply: Reply | None = None
        self._error: ClientError | None = None
        self._failed_by: Frame | None = None
        self._news = asyncio.Event()

    @property
    def text(self) -> str:
        """What is known of the answer so far."""
        return "".join(self._pieces)

    def cancel(self, heard: int | None = None, audio_ms: int | None = None) -> None:
        """End it early. `heard`: characters that the user took in; None: all that was sent."""
        self._cancel(self.client_msg_id, heard, audio_ms)

    def __await__(self) -> Generator[Any, None, Reply]:
        return self._whole().__await__()

    async def _whole(self) -> Reply:
        while True:
            if self._error is not None:
                raise self._error
            if self._reply is not None:
                return self._reply
            await self._news.wait()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        begun, told, offset = self._begun, 0, 0
        while True:
            news, anew = self._news, begun != self._begun and offset > 0
            if begun != self._begun:
                begun, told, offset = self._begun, 0, 0
            if told < len(self._pieces) or anew:
                piece, told = "".join(self._pieces[told:]), len(self._pieces)
                yield Delta(piece, offset, reset=anew)
                offset += len(piece)
            elif self._error is not None:
                raise self._error
            elif self._reply is not None:
                return
            else:
                await news.wait()

    # ── from the session ────────────────────────────────────────────────────────────

    def feed(self, event: Frame) -> None:
        """An event of this message."""
        match event["type"]:
            case kind if kind == DELTA:
                self._pieces.append(event["delta"])
            case "response.reset":
                self._again()
            case "response.done" if event.get("status") == "failed":
                self._failed_by = event
                if event.get("seq") is not None:
                    self._error = raised(error_of(event), by=event)
            case "response.done":
                self._done(event)
            case "client.joined":
                self._done(event["response"])
            case "client.cancelled":
                self._reply = Reply(text="", status="cancelled")
            case "client.failed":
                self._error = raised(event["error"], by=self._failed_by)
        news, self._news = self._news, asyncio.Event()
        news.set()

    @property
    def over(self) -> bool:
        return self._reply is not None or self._error is not None

    def _again(self) -> None:
        if self._pieces:
            self._pieces = []
            self._begun += 1

    def _done(self, event: Frame) -> None:
        text, shown = event.get("message"), self.text
        if not isinstance(text, str):
            text = shown
        cancelled = event.get("status") == "cancelled"
        if text.startswith(shown) and text != shown:
            self._pieces.append(text[len(shown) :])
        elif not cancelled and text != shown:
            self._again()
            self._pieces = [text]
        try:
            details = msgspec.convert(event, _Done)
        except msgspec.ValidationError:
            self._error = TurnFailed("the end of the answer cannot be read", code="protocol_violation")
            return
        self._reply = Reply(
            text=text,
            status="cancelled" if cancelled else "completed",
            response_id=details.response_id,
            seq=details.seq,
            revision=details.revision,
            usage=details.usage,
            metrics=details.metrics,
            degraded=details.degraded or (),
            trace_id=details.trace_id,
        )


class _Done(Struct):
    """What a reply takes from `response.done`; every other field is ignored."""

    response_id: str = ""
    seq: int | None = None
    revision: str = ""
    usage: Usage = Usage()
    metrics: Metrics = Metrics()
    degraded: tuple[DegradedHook, ...] | None = None
    trace_id: str = ""
