"""A wire to a server that can be harmed in every way a network harms one: nothing arrives, nothing comes back, it is cut."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Self

PIECE = 1 << 16


class Wire:
    """Passes on what comes on a port of its own to `target`; all harm is done from outside, at any moment."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.accepted: list[float] = []
        """When somebody connected, by the loop's clock."""
        self.asked = 0
        """Pieces that came from clients since `arm`."""
        self._harm: Callable[[int], str] = lambda number: ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._passing.set()
        self.reset()

    def hole(self) -> None:
        """From now on no byte comes through, in either direction; connections are still taken."""
        self._passing.clear()

    def flow(self) -> None:
        self._passing.set()

    def reset(self) -> None:
        """Every connection is answered with RST."""
        for writer in tuple(self._writers):
            found = writer.get_extra_info("socket")
            with suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def arm(self, harm: Callable[[int], str]) -> None:
        """`harm` says of each further piece from a client, by its number: "" passes it on, "before" cuts the connection
        in its place, "after" cuts it once it is carried out, before its answer comes back."""
        self.asked, self._harm = 0, harm

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(asyncio.get_running_loop().time())
        self._writers.add(writer)
        deaf = [False]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            self._writers.discard(writer)
            return
        answers = asyncio.create_task(self._answers(there, writer, deaf))
        try:
            while data := await reader.read(PIECE):
                await self._passing.wait()
                self.asked += 1
                harm = self._harm(self.asked)
                if harm == "before":
                    break
                deaf[0] = harm == "after"
                back.write(data)
                if harm == "after":
                    await answers  # until the answer is there, which nobody gets
                    break
        except OSError:
            pass
        finally:
            answers.cancel()
            self._writers.discard(writer)
            back.close()
            writer.transport.abort()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: list[bool]) -> None:
        with suppress(OSError):
            while data := await there.read(PIECE):
                await self._passing.wait()
                if deaf[0]:
                    return
                writer.write(data)
        writer.close()
