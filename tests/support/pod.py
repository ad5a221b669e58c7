"""A real agent with real workers, and a small gateway's end of the link to talk to it."""

import asyncio
import base64
import os
import shutil
import signal
import ssl
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.identities import make_identity, mount_keys
from tests.support.ports import free_ports

from rolehost_api.link.attestation import NO_CERTIFICATE, fingerprint
from rolehost_api.link.credit import Credits, cost
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import (
    BUNDLE_CHUNK_BYTES,
    Abort,
    Bind,
    Bound,
    BundleChunk,
    CallModel,
    Commit,
    Committed,
    Credit,
    Hello,
    LogBatch,
    LogicSource,
    LogLine,
    Message,
    ModelResult,
    Prove,
    ReadLogs,
    Say,
    StartTurn,
    ToGateway,
    TurnFailed,
    proof_text,
)
from rolehost_runtime.sandbox.procs import parents

M = TypeVar("M", bound=Message)
UID, NAMESPACE_UID = "pod-uid-1", "uid-acme"
WAIT = 20.0


@dataclass
class Told:
    """A turn, as the gateway saw it."""

    said: str
    asked: list[CallModel]
    end: Commit | TurnFailed


class End:
    """The gateway's end of a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder: Decoder[ToGateway] = Decoder(ToGateway)
        self._credits = Credits()
        self._heard: defaultdict[int, deque[Message]] = defaultdict(deque)
        self._rung = asyncio.Condition()
        self._channel = 0
        self._request = 0
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while data := await self.reader.read(65_536):
            for channel, message, size in self._decoder.feed(data):
                if isinstance(message, Credit):
                    self._credits.granted(message.bytes)
                else:
                    self._credits.received(size)
                    self._heard[channel].append(message)
                    if grant := self._credits.worked(size):
                        self.writer.write(encode(0, Credit(bytes=grant)))
            async with self._rung:
                self._rung.notify_all()
        async with self._rung:
            self._heard[-1].append(Credit(bytes=1))
            self._rung.notify_all()

    async def send(self, channel: int, *messages: Message) -> None:
        for message in messages:
            data = encode(channel, message)
            async with asyncio.timeout(WAIT), self._rung:
                await self._rung.wait_for(lambda data=data: self._credits.sent(cost(data)))  # type: ignore[misc]
            self.writer.write(data)
        await self.writer.drain()

    async def hear(self, channel: int, kind: type[M]) -> M:
        """The channel's next message, which must be of this kind. EOFError where the link ended."""
        message = await self.hear_any(channel)
        assert isinstance(message, kind), message
        return message

    async def hear_any(self, channel: int) -> Message:
        heard = self._heard
        async with asyncio.timeout(WAIT), self._rung:
            await self._rung.wait_for(lambda: heard[channel] or heard[-1])
            if not heard[channel]:
                raise EOFError
            return heard[channel].popleft()

    async def closed(self) -> bool:
        async with asyncio.timeout(WAIT), self._rung:
            await self._rung.wait_for(lambda: self._heard[-1])
        return True

    async def prove(self, key: Ed25519PrivateKey, uid: str = UID) -> Hello:
        hello = await self.hear(0, Hello)
        text = proof_text(hello.nonce, uid, self.fingerprint)
        await self.send(0, Prove(protocol=1, signature=key.sign(text)))
        return hello

    @property
    def fingerprint(self) -> bytes:
        """Of the pod's certificate, where the link is a connection."""
        tls = self.writer.get_extra_info("ssl_object")
        return fingerprint(tls.getpeercert(binary_form=True)) if tls else NO_CERTIFICATE

    async def bind(self, source: str | None = None, archive: bytes = b"", **options: Any) -> Bound:
        logic = options.pop("logic", LogicSource(files={"logic.py": source}) if source is not None else None)
        bind = Bind(
            **{"revision": "r-1", "hash": "h1", "role": "cat", "persona": ("Be.",), "permissions": (), **options},
            logic=logic,
        )
        await self.send(0, bind)
        for start in range(0, len(archive), BUNDLE_CHUNK_BYTES):
            part = archive[start : start + BUNDLE_CHUNK_BYTES]
            await self.send(0, BundleChunk(data=part, last=start + BUNDLE_CHUNK_BYTES >= len(archive)))
        return await self.hear(0, Bound)

    async def start(self, message: str = "hi", session: str = "s1", **options: Any) -> int:
        """Open a turn; its channel."""
        self._channel += 1
        defaults = {"turn": 1, "version": 0, "now_ms": 1000, "rng_seed": 1, "deadline_ms": 15_000, "state": {}}
        await self.send(
            self._channel,
            StartTurn(session=session, session_id=session, message=message, **{**defaults, **options}),
        )
        return self._channel

    async def finish(self, channel: int, answer: Callable[[CallModel], str] = lambda asked: f"<{asked.index}>") -> Told:
        told = Told("", [], Commit())
        while True:
            message = await self.hear(channel, Message)
            if isinstance(message, Say):
                told.said += message.text
            elif isinstance(message, CallModel):
                told.asked.append(message)
                result = ModelResult(index=message.index, text=answer(message))
                told.said += result.text if message.stream else ""
                await self.send(channel, result)
            else:
                assert isinstance(message, Commit | TurnFailed), message
                told.end = message
                return told

    async def turn(self, message: str = "hi", session: str = "s1", **options: Any) -> Told:
        channel = await self.start(message, session, **options)
        told = await self.finish(channel)
        if isinstance(told.end, Commit):
            await self.send(channel, Committed(version=options.get("version", 0) + 1))
        return told

    async def abort(self, channel: int) -> None:
        await self.send(channel, Abort(code="cancelled"))

    async def logs(self) -> list[LogLine]:
        """All that the pod still has of what its logic printed."""
        self._request += 1
        await self.send(0, ReadLogs(request=self._request))
        found: list[LogLine] = []
        while batch := (await self.hear(0, LogBatch)).lines:
            found += batch
        return found

    async def close(self) -> None:
        self.writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@dataclass
class AgentProcess:
    process: asyncio.subprocess.Process
    key: Ed25519PrivateKey
    port: int
    health: int
    folder: Path
    """What is mounted in it: identity/ and keys/."""
    ends: list[End] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The agent's own, below whatever started it."""
        found = self.process.pid
        while _module(found) != "rolehost_runtime.sandbox" and (below := children(found)):
            found = min(below)
        return found

    async def dial(self) -> End:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=anybody(), server_hostname="")
        end = End(reader, writer)
        self.ends.append(end)
        return end

    async def link(self) -> End:
        end = await self.dial()
        await end.prove(self.key)
        return end

    async def get(self, path: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.health)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        writer.close()
        return status


def anybody() -> ssl.SSLContext:
    """TLS to whoever listens."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return tls


def environment(key: Ed25519PrivateKey, scratch: Path, **more: str) -> dict[str, str]:
    """Of an agent on its standard streams."""
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    other = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "ROLEHOST_POD_UID": UID,
        "ROLEHOST_PLATFORM_KEYS": f"{other},{public}",
        "ROLEHOST_SCRATCH": str(scratch),
        **more,
    }


USER = 65532
"""As in a pod."""
CAGE = (
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", '"$@"; exit $?', "rolehost-cage"),
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
"""A PID namespace of its own, and a user who is nobody: what runs there can reach no process of this machine, whatever
else fails. The capability is for reading a Python that only root may. Needs root."""


@asynccontextmanager
async def caged_agent(**more: str) -> AsyncIterator[AgentProcess]:
    """An agent for logic that means harm, and for nothing else may such logic be run on a machine."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root, for a PID namespace")
    async with agent(*CAGE, **more) as caged:
        yield caged


@asynccontextmanager
async def agent(*prefix: str, **more: str) -> AsyncIterator[AgentProcess]:
    """An attested agent on two free ports of the loopback. Whatever it started is gone afterwards."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    port, health = free_ports(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variables = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "ROLEHOST_POD_UID": UID,
            "ROLEHOST_PLATFORM_KEYS_DIR": str(mount_keys(folder / "keys", [other.public_key(), key.public_key()])),
            "ROLEHOST_IDENTITY_DIR": str(make_identity(folder / "identity", NAMESPACE_UID, UID)),
            "ROLEHOST_SCRATCH": str(folder / "logic"),
            **more,
        }
        if prefix:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, USER, USER)
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *(sys.executable, "-m", "rolehost_runtime.sandbox"),
            *("--listen", f"127.0.0.1:{port}", "--health", f"127.0.0.1:{health}"),
            env=variables,
        )
        running = AgentProcess(process, key, port, health, folder)
        try:
            await _until_listening(port)
            yield running
        finally:
            for end in running.ends:
                await end.close()
            if process.returncode is None:
                os.kill(running.pid, signal.SIGTERM)
                try:
                    async with asyncio.timeout(WAIT):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(WAIT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def template_of(agent: AgentProcess) -> int:
    """The agent's one child."""
    (template,) = children(agent.pid)
    return template


def _module(pid: int) -> str:
    words = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace").split("\0")
    return words[words.index("-m") + 1] if "-m" in words and "python" in words[0] else ""


def children(pid: int) -> list[int]:
    """Living processes right below one, the oldest number first."""
    return sorted(child for child, parent in parents().items() if parent == pid)


def descendants(root: int) -> set[int]:
    """Living processes below one."""
    found = {root}
    table = parents()
    while more := {pid for pid, parent in table.items() if parent in found} - found:
        found |= more
    return found - {root}
