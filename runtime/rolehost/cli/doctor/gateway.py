"""What a gateway says: is it ready, how is Redis, what time is it. Asked with an admin's key, or one made for the run."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from rolehost.cli.address import plainly
from rolehost.cli.doctor.api import Answer, refusal
from rolehost.cli.doctor.background import running
from rolehost.cli.doctor.clocks import Ahead, asked
from rolehost.cli.doctor.finding import Seen
from rolehost.cli.doctor.ownkey import OwnKey
from rolehost.cli.forward import FORWARDING, command
from rolehost.cli.kubectl import Kubectl, sentence

FORWARD_SECONDS = 4.0
ANSWER_SECONDS = 3.0
KNOWN_SECONDS = 3.0
"""In which a gateway has surely heard of a new key."""
MAX_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Heard:
    way: str
    ready: Seen
    """What /readyz says."""
    health: Seen
    """What /v1/platform/health says."""
    ahead: Mapping[str, Ahead] = field(default_factory=dict)
    """Clocks against ours."""


@asynccontextmanager
async def reached(kubectl: Kubectl, url: str) -> AsyncIterator[str | Seen]:
    """The gateway's address: as given, else through a port-forward; or why there is none."""
    if url:
        yield url
        return
    async with running(command(kubectl), asyncio.subprocess.PIPE) as process:
        yield await _forwarding(process)


async def _forwarding(process: asyncio.subprocess.Process) -> str | Seen:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(FORWARD_SECONDS):
            while line := await process.stdout.readline():
                if found := FORWARDING.search(line.decode()):
                    return f"http://{found.group(1)}"
            said = sentence((await process.stderr.read(4096)).decode(errors="replace"))
    except TimeoutError:
        said = f"kubectl port-forward took over {FORWARD_SECONDS:.0f} s"
    return Seen(refused=said, forbidden="(Forbidden)" in said)


async def heard(way: str, address: str | Seen, key: str, keys: OwnKey) -> Heard:
    """Everything that the gateway at `address` has to say. A key that is not enough is told from one that is."""
    if isinstance(address, Seen):
        return Heard(way, address, address)
    ready = await _fetch(f"{address}/readyz", "")
    if ready.status == 0:
        return Heard(way, refusal(ready), refusal(ready))
    path = f"{address}/v1/platform/health"
    before = time.time()
    answer = await _fetch(path, key) if key else Answer(401, "")
    if answer.status in (401, 403):
        made = await keys.make()
        if made.refused:
            why = f"it takes a key with scope admin (--key), and none could be made: {made.refused}"
            return Heard(way, Seen(ready.body), Seen(refused=why, forbidden=made.forbidden))
        until = time.monotonic() + KNOWN_SECONDS
        while True:
            before = time.time()
            answer = await _fetch(path, str(made.value))
            if answer.status != 401 or time.monotonic() >= until:
                break
            await asyncio.sleep(0.1)
    after = time.time()
    if answer.status != 200 or not isinstance(answer.body, Mapping):
        return Heard(way, Seen(ready.body), refusal(answer))
    return Heard(way, Seen(ready.body), Seen(answer.body), clocks_of(answer.body, before, after))


def clocks_of(health: Mapping[str, Any], before: float, after: float) -> dict[str, Ahead]:
    """The gateway's clock and Redis' against ours.

    >>> clocks_of({"now_ms": 105_000, "store": {}, "store_skew_ms": 3_000, "store_asked_ms": 500}, 100.0, 100.5)
    {'gateway': Ahead(low=4.5, high=5.0), 'Redis': Ahead(low=7.25, high=8.25)}
    """
    found = {"gateway": asked(health["now_ms"] / 1000, before, after)}
    if health.get("store") is not None:
        skew, half = health["store_skew_ms"] / 1000, health["store_asked_ms"] / 2000
        found["Redis"] = found["gateway"].plus(Ahead(skew - half, skew + half))
    return found


async def _fetch(url: str, key: str) -> Answer:
    def fetch() -> Answer:
        request = urllib.request.Request(url)  # noqa: S310 - http(s): --url was checked, the other is ours
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310
                return Answer(response.status, json.loads(response.read(MAX_ANSWER)))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _body(error.read(MAX_ANSWER)))
        except (OSError, ValueError) as error:
            return Answer(0, plainly(error))

    return await asyncio.to_thread(fetch)


def _body(raw: bytes) -> Any:
    """What /readyz says with 503, or the error of our shape as a sentence."""
    try:
        body = json.loads(raw)
    except ValueError:
        return ""
    error = body.get("error") if isinstance(body, Mapping) else None
    return {"message": f"{error.get('message')} ({error.get('code')})"} if isinstance(error, Mapping) else body
