"""One socket, from its dialling to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

MAX_UNSENT = 256
CLOSE_SECONDS = 2.0
"""For saying goodbye to each other; a connection that is dead gives no more."""


class Ear(Protocol):
    """Who is told of it; after `lost` or `broken` nothing more."""

    def opened(self) -> None: ...
    def heard(self, text: str | bytes) -> None: ...

    def lost(self, code: int, reason: str, status: int, cause: Exception | None) -> None:
        """The socket is gone, or never stood. `status` of an HTTP answer in its place."""

    def broken(self, error: Exception) -> None:
        """Something failed that is not the network's fault."""


class Line:
    def __init__(self, dial: Callable[[], Awaitable[ClientConnection]], ear: Ear) -> None:
        self._dial, self._ear = dial, ear
        self._unsent: asyncio.Queue[str | bytes] = asyncio.Queue(MAX_UNSENT)
        self._gone = False
        self.task = asyncio.create_task(self._run(), name="rolehost.client")

    def send(self, text: str | bytes) -> None:
        try:
            self._unsent.put_nowait(text)
        except asyncio.QueueFull:
            self._lost(1006, "the socket takes nothing", 0, None)
            self.task.cancel()

    def close(self) -> None:
        """Nothing is told any more."""
        self._gone = True
        self.task.cancel()

    async def _run(self) -> None:
        try:
            socket = await self._dial()
        except InvalidStatus as refused:
            self._lost(1006, str(refused), refused.response.status_code, refused)
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            self._lost(1006, "no connection", 0, error)
        except Exception as error:
            if not self._gone:
                self._gone = True
                self._ear.broken(error)
        else:
            await self._talk(socket)

    async def _talk(self, socket: ClientConnection) -> None:
        writing = asyncio.create_task(self._write(socket))
        try:
            if not self._gone:
                self._ear.opened()
            async for message in socket:
                if self._gone:
                    break
                self._ear.heard(message)
            self._lost(socket.close_code or 1006, socket.close_reason or "", 0, None)
        except ConnectionClosed as closed:
            close = closed.rcvd
            self._lost(close.code if close else 1006, close.reason if close else "", 0, closed)
        except OSError as error:
            self._lost(1006, "", 0, error)
        finally:
            writing.cancel()
            await socket.close()

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while True:
                await socket.send(await self._unsent.get())
        except (ConnectionClosed, OSError):
            return  # who reads is told

    def _lost(self, code: int, reason: str, status: int, cause: Exception | None) -> None:
        if not self._gone:
            self._gone = True
            self._ear.lost(code, reason, status, cause)
