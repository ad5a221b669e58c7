"""What the sandbox can find out about its own walls, before any tenant byte arrives."""

import asyncio
import ctypes
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rolehost_api.link.messages import Probe

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
CONNECT_SECONDS = 1.0
_SYSLOG_READ_ALL = 3
_DNS_QUESTION = bytes.fromhex("a4a4 0100 0001 0000 0000 0000") + b"\x08rolehost\x00" + bytes.fromhex("0002 0001")


async def probe(targets: Sequence[str], token: Path = TOKEN) -> Probe:
    """Look for gVisor's kernel, a token, and a way out to any of `targets` (ip:port), all at once.

    Reached means that a connection stood, or that a name server answered on port 53. A
    refusal is not counted: what enforces a policy may refuse as well as drop.
    """
    reached = await asyncio.gather(*(_reached(target) for target in targets))
    return Probe(
        gvisor=is_gvisor(),
        token=_is_there(token),
        reached=tuple(target for target, hit in zip(targets, reached, strict=True) if hit),
        tried=tuple(targets),
        kernel=_kernel(),
    )


def is_gvisor() -> bool:
    """The kernel's own log begins with gVisor's banner. A host's kernel says something else, or nothing."""
    if sys.platform != "linux":
        return False
    buffer = ctypes.create_string_buffer(65_536)
    count = ctypes.CDLL(None, use_errno=True).klogctl(_SYSLOG_READ_ALL, buffer, len(buffer))
    return count > 0 and b"Starting gVisor" in buffer.raw[:count]


def _is_there(path: Path) -> bool:
    return path.exists()


def _kernel() -> str:
    with suppress(OSError):
        return Path("/proc/version").read_text()[:256].strip()
    return ""


async def _reached(target: str) -> bool:
    host, _, port = target.rpartition(":")
    ways = [_connected(host.strip("[]"), int(port))]
    if port == "53":
        ways.append(answers_by_udp(host.strip("[]"), int(port)))
    return any(await asyncio.gather(*ways))


async def _connected(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def answers_by_udp(host: str, port: int) -> bool:
    """A question to a name server over UDP, answered by anything at all."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                sock.connect((host, port))
                await loop.sock_sendall(sock, _DNS_QUESTION)
                return bool(await loop.sock_recv(sock, 512))
        except (OSError, TimeoutError):
            return False
