"""The gateway's end of a link, as short as it can be: one thing at a time, over a blocking socket."""

import base64
import hashlib
import socket
import ssl
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rolehost_api.link.attestation import fingerprint
from rolehost_api.link.credit import Credits
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import (
    PROTOCOLS,
    Bind,
    Bound,
    Commit,
    Committed,
    Credit,
    Hello,
    LogBatch,
    LogicSource,
    Message,
    Prove,
    ReadLogs,
    StartTurn,
    ToGateway,
    proof_text,
)

POD_UID = "bench"
LOGIC = """
from rolehost import Role, Turn
role = Role("bench")

@role.on_message
async def answer(t: Turn) -> None:
    await t.reply("yes")
"""
M = TypeVar("M", bound=Message)
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE


def public_key(key: Ed25519PrivateKey) -> str:
    """As the agent's environment names it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


class LinkClient:
    """Proven and bound once it is made."""

    def __init__(self, sock: socket.socket, key: Ed25519PrivateKey) -> None:
        self._sock = TLS.wrap_socket(sock)
        certificate = self._sock.getpeercert(binary_form=True)
        assert certificate is not None
        self._decoder: Decoder[ToGateway] = Decoder(ToGateway)
        self._heard: list[Message] = []
        self._credits = Credits()
        self._number = 0
        hello = self._next(Hello)
        signature = key.sign(proof_text(hello.nonce, POD_UID, fingerprint(certificate)))
        self._send(0, Prove(protocol=PROTOCOLS[0], signature=signature))
        digest = hashlib.sha256(LOGIC.encode()).hexdigest()
        self._send(
            0,
            Bind(
                revision="bench-1",
                hash=digest,
                role="bench",
                persona=("You are a measurement.",),
                permissions=("model.call",),
                logic=LogicSource(files={"logic.py": LOGIC}),
            ),
        )
        error = self._next(Bound).error
        if error is not None:
            raise RuntimeError(f"the logic did not load: {error.code} {error.error} {error.where} {error.hint}")

    def trip(self) -> None:
        """There and back through the agent alone: no worker has a part in it."""
        self._number += 1
        self._send(0, ReadLogs(request=self._number, after=2**31))
        self._next(LogBatch)

    def turn(self) -> None:
        """A whole turn of logic that answers at once: agent, worker, agent, and the commit's answer back."""
        self._number += 1
        start = StartTurn(
            session=f"s{self._number % 8}",
            session_id="bench",
            turn=2,
            version=0,
            state={},
            message="yes?",
            now_ms=0,
            rng_seed=0,
            deadline_ms=10_000,
        )
        self._send(self._number, start)
        self._next(Commit)
        self._send(self._number, Committed(version=1))

    def _send(self, channel: int, message: Message) -> None:
        self._sock.sendall(encode(channel, message))

    def _next(self, kind: type[M]) -> M:
        """The next message of this kind; others before it are let pass."""
        while True:
            while self._heard:
                found = self._heard.pop(0)
                if isinstance(found, kind):
                    return found
            data = self._sock.recv(65_536)
            if not data:
                raise ConnectionError("the pod hung up")
            for _, message, size in self._decoder.feed(data):
                self._heard.append(message)
                if not isinstance(message, Credit):
                    self._credits.received(size)
                    if grant := self._credits.worked(size):
                        self._send(0, Credit(bytes=grant))
