"""The cluster's API with the user's own rights: one `kubectl proxy` on a socket that only this user may open."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import click

from rolehost.cli.doctor.background import running
from rolehost.cli.doctor.clocks import Ahead, asked
from rolehost.cli.doctor.finding import Seen
from rolehost.cli.kubectl import Kubectl, sentence

START_SECONDS = 4.0
ANSWER_SECONDS = 4.0
MAX_ANSWER = 32 * 1_048_576
JSON, MERGE = "application/json", "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    """Parsed JSON, or text."""


class Api:
    """Asks; notes by the way how far the apiserver's clock is ahead of ours."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.ahead: Ahead | None = None

    async def ask(self, method: str, path: str, body: Any = None, kind: str = JSON) -> Answer:
        """One request. Status 0 and a sentence where nobody answered in ANSWER_SECONDS."""
        before = time.time()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                raw = await self._exchange(method, path, b"" if body is None else json.dumps(body).encode(), kind)
            answer, date = parsed(raw)
        except TimeoutError:
            return Answer(0, f"no answer in {ANSWER_SECONDS:.0f} s")
        except (OSError, ValueError) as error:
            return Answer(0, str(error) or type(error).__name__)
        if date is not None:
            ahead = asked(date, before, time.time(), coarse=1.0)
            self.ahead = ahead if self.ahead is None else self.ahead.narrowed(ahead)
        return answer

    async def _exchange(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            # HTTP/1.0: the answer ends where the connection ends.
            head = f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {JSON}, */*\r\n"
            writer.write(f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            pieces, size = [], 0
            while piece := await reader.read(1 << 16):
                pieces.append(piece)
                if (size := size + len(piece)) > MAX_ANSWER:
                    raise ValueError(f"the answer is larger than {MAX_ANSWER >> 20} MiB")
            return b"".join(pieces)
        finally:
            writer.close()

    async def see(self, path: str) -> Seen:
        """GET, as what was seen; 404 is a value of None."""
        answer = await self.ask("GET", path)
        if answer.status == 200:
            return Seen(answer.body)
        return Seen() if answer.status == 404 else refusal(answer)


def parsed(raw: bytes) -> tuple[Answer, float | None]:
    """An answer of HTTP, and the time that its server says it is. Raises ValueError.

    >>> parsed(b'HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\nDate: Tue, 01 Jan 2030 00:00:00 GMT\\r\\n\\r\\n{}')
    (Answer(status=200, body={}), 1893456000.0)
    """
    head, _, rest = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    words = status.split()
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    body = json.loads(rest) if "json" in headers.get("content-type", "") and rest else rest.decode(errors="replace")
    date = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else None
    return Answer(int(words[1]), body), date


def refusal(answer: Answer) -> Seen:
    """
    >>> refusal(Answer(500, {"message": "etcd is away"}))
    Seen(value=None, refused='etcd is away', forbidden=False)
    """
    said = answer.body.get("message") if isinstance(answer.body, Mapping) else str(answer.body).strip()[:300]
    return Seen(refused=said or f"status {answer.status}", forbidden=is_rights(answer))


def is_rights(answer: Answer) -> bool:
    """Whether RBAC said no. Quota and admission say 403 too, and those are findings.

    >>> is_rights(Answer(403, {"message": 'pods is forbidden: User "x" cannot create resource "pods"'}))
    True
    >>> is_rights(Answer(403, {"message": 'pods "x" is forbidden: exceeded quota: q'}))
    False
    """
    said = str(answer.body.get("message", "")) if isinstance(answer.body, Mapping) else str(answer.body)
    return answer.status == 401 or (answer.status == 403 and 'User "' in said and " cannot " in said)


@asynccontextmanager
async def api(kubectl: Kubectl) -> AsyncIterator[Api]:
    """Raises ClickException with kubectl's own words where there is no cluster to speak to."""
    with tempfile.TemporaryDirectory(prefix="rolehost-") as folder:  # of mode 0700: whoever opens the socket is us
        socket = Path(folder) / "api"
        async with running(kubectl.command("proxy", f"--unix-socket={socket}")) as process:
            await _stands(process, socket)
            yield Api(socket)


async def _stands(process: asyncio.subprocess.Process, socket: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await _listens(socket):
        if process.returncode is not None:
            said = sentence((await process.communicate())[1].decode(errors="replace"))
            raise click.ClickException(f"kubectl reaches no cluster: {said}\nPoint it at one: KUBECONFIG, --context")
        if time.monotonic() > deadline:
            raise click.ClickException(f"kubectl proxy did not start in {START_SECONDS:.0f} s")
        await asyncio.sleep(0.02)


async def _listens(socket: Path) -> bool:
    """A socket's file is there before anybody listens at it, and everything asked in between would be refused."""
    try:
        _, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    return True
