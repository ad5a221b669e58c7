"""Servers on this machine that answer as they like, and names that lead where a test says."""

import asyncio
import datetime
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.rooms import role_entry

from rolehost_api.link.messages import Fetch, Fetched
from rolehost_runtime.core.reach.addresses import Reachable
from rolehost_runtime.gateway.broker.reach.client import Client
from rolehost_runtime.gateway.broker.reach.dialing import Dialing
from rolehost_runtime.gateway.broker.reach.limits import Bounds
from rolehost_runtime.gateway.broker.reach.lookup import Lookup
from rolehost_runtime.gateway.broker.reach.service import ReachService

Play = Callable[["Heard", asyncio.StreamWriter], Awaitable[None]]
"""Answers one request."""
HOME = "127.0.0.0/8"


@dataclass(frozen=True)
class Heard:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    port: int
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection was closed by who asked."""


@asynccontextmanager
async def serving(play: Play, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
            heard = Heard(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
            server.heard.append(heard)
            await play(heard, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            server.closed.set()
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, host, 0, limit=1 << 20)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def saying(data: bytes) -> Play:
    async def play(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return play


def answering(body: bytes = b"hello", status: str = "200 OK", *headers: str) -> Play:
    told = "".join(f"{line}\r\n" for line in (f"Content-Length: {len(body)}", *headers))
    return saying(f"HTTP/1.1 {status}\r\n{told}\r\n".encode() + body)


@dataclass
class Names:
    """A resolver. A name with several answers gives one after the other, the last one for good."""

    answers: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        found = self.answers.get(host)
        if not found:
            raise socket.gaierror(host)
        return found.pop(0) if len(found) > 1 else found[0]


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.received = 0

    def request(self, tenant: str, role: str, outcome: str, seconds: float, sent: int, received: int) -> None:
        self.told.append((tenant, role, outcome))
        self.received += received


class Reaching:
    """The way outside, with names of our own; `allowed` networks are reached beside public ones."""

    def __init__(self, *allowed: str, refused: Sequence[str] = (), per_minute: int = 6000, per_role: int = 16) -> None:
        self.names, self.sink, self.role = Names(), Sink(), role_entry()
        self.lookup = Lookup(self.names)
        self.dialing = Dialing(Reachable.of(allowed, refused), self.lookup)
        self.client = Client(self.dialing)
        now = asyncio.get_running_loop().time
        self.service = ReachService(self.client, Bounds(now, per_role, per_minute), self.sink)

    async def fetch(self, url: str, *permissions: str, key: str = "", **more: object) -> Fetched:
        asked = Fetch(index=3, url=url, timeout_ms=more.pop("timeout_ms", 5000), **more)  # type: ignore[arg-type]
        return await self.service.fetch(self.role, permissions, asked, key)


def certificate_of(name: str, folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for that name, its own authority, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private
