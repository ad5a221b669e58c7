"""One link between two gateways: frames, credit, and a beat that tells a silent peer from a dead one.

What the messages mean is `mesh`'s on the end that dialled and `guests`' on the other.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.credit import Credits
from rolehost_api.link.framing import Decoder
from rolehost_api.link.messages import NONCE_BYTES, Credit, Message
from rolehost_api.link.peer import PEER_PROTOCOLS, Beat, PeerHello, peer_proof_text
from rolehost_runtime.gateway.link.writer import CreditedWriter
from rolehost_runtime.gateway.peers.identity import Check, Prove

BEAT_SECONDS = 1.0
HELLO_SECONDS = 5.0
"""For the other end to say who it is."""
SILENT_SECONDS = 1.5
"""Without a byte, so that one beat is missing: whether the peer lives is worth a look at its lease."""
DEAD_SECONDS = 10.0
"""Without a byte, though the peer holds its lease, or the store is away and nobody knows: its sessions cannot be relayed,
and their clients here are not to wait for ever. Should both ends go on with one of them, its epoch decides.

TCP sends anew what was lost after 0.2 s and then twice as long each time, so 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s after the
first loss: a network that drops everything for six seconds is back before a link ends by it."""
READ_BYTES = 65_536
QUANTUM = 64
"""Messages handled before the rest of the process has its turn."""

M = TypeVar("M", bound=Message)


class Connection(Generic[M]):
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        kind: Any,
        me: str,
        leaving: Callable[[], bool],
        prove: Prove | None = None,
        check: Check | None = None,
    ) -> None:
        """`kind` is the union of what the other end may send. Who dialled has a `prove`, who was dialled a `check`."""
        self.peer = ""
        """The other end's name, from its hello on."""
        self.peer_leaves = False
        self.protocol = 0
        """The newest version that both ends speak, from the other end's hello on."""
        self._reader = reader
        self._me, self._leaving = me, leaving
        self._prove, self._check = prove, check
        self._nonce = secrets.token_bytes(NONCE_BYTES) if check else b""
        self._heard_at = 0.0
        self._patience: asyncio.Timeout | None = None
        self._decoder: Decoder[M] = Decoder(kind)
        self._credits = Credits()
        self._out = CreditedWriter(writer, self._credits, self.close)

    @property
    def closed(self) -> bool:
        return self._out.closed

    @property
    def silent(self) -> bool:
        """Nothing was heard of who had said who it is."""
        return bool(self.peer) and asyncio.get_running_loop().time() - self._heard_at >= SILENT_SECONDS

    async def run(self, receive: Callable[[int, M], None], news: Callable[[], None]) -> None:
        """Until either end hangs up, breaks the protocol or falls silent; always closed after.

        `receive` gets what is neither hello, beat nor credit; `news` is called when the
        peer said who it is, and when it begins to leave.
        """
        if self._prove is None:
            self.send(0, PeerHello(protocols=PEER_PROTOCOLS, gateway=self._me, nonce=self._nonce))
        beating = asyncio.create_task(self._beat())
        try:
            with suppress(TimeoutError, OSError, ProtocolViolation):
                while True:
                    async with asyncio.timeout(DEAD_SECONDS if self.peer else HELLO_SECONDS) as self._patience:
                        data = await self._reader.read(READ_BYTES)
                    if not data:
                        return
                    self._heard_at = asyncio.get_running_loop().time()
                    await self._take(data, receive, news)
        finally:
            beating.cancel()
            self.close()

    async def _take(self, data: bytes, receive: Callable[[int, M], None], news: Callable[[], None]) -> None:
        for number, (channel, message, size) in enumerate(self._decoder.feed(data), 1):
            if isinstance(message, Credit):
                self._out.granted(message.bytes)
                continue
            self._credits.received(size)
            if channel == 0:
                self._own_talk(message, news)
            elif self.peer:
                receive(channel, message)
            else:
                raise ProtocolViolation("a gateway spoke before it said who it is")
            self._out.worked(size)
            if number % QUANTUM == 0:
                await asyncio.sleep(0)

    def _own_talk(self, message: Message, news: Callable[[], None]) -> None:
        match message:
            case PeerHello() if not self.peer and message.gateway:
                self._hello(message)
                news()
            case Beat() if self.peer:
                if message.leaving and not self.peer_leaves:
                    self.peer_leaves = True
                    news()
            case _:
                raise ProtocolViolation("this message does not belong to a gateway's channel 0")

    def _hello(self, hello: PeerHello) -> None:
        common = set(PEER_PROTOCOLS) & set(hello.protocols)
        if not common:
            raise ProtocolViolation("the gateways speak no version of their link in common")
        self.protocol = max(common)
        if self._check and not self._check(peer_proof_text(self._nonce, self._me, hello.gateway), hello.proof):
            raise ProtocolViolation("the peer is not the platform")
        if self._prove:
            proof = self._prove(peer_proof_text(hello.nonce, hello.gateway, self._me))
            self.send(0, PeerHello(protocols=PEER_PROTOCOLS, gateway=self._me, proof=proof))
        self.peer = hello.gateway

    async def _beat(self) -> None:
        while not self.closed:
            await asyncio.sleep(BEAT_SECONDS)
            if self.peer:
                self.send(0, Beat(leaving=self._leaving()))

    def send(self, channel: int, message: Message) -> None:
        self._out.send(channel, message)

    def close(self) -> None:
        self._out.close()

    def give_up(self) -> None:
        """Close, and wait for no farewell: who is silent says none, and TLS would wait for it."""
        self.close()
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())
