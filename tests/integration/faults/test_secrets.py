"""F28: what must not be known is put wherever something may go wrong with it, and is looked for wherever a process speaks.

A gateway on real ports, with a real Redis that has a password, a model server over HTTP that repeats all it was sent in
its errors, pods that say what they like, and a bug of our own that quotes the prompt. It logs at level debug and traces
every turn; content is not captured. Then every log line, span, series, the report that the operator makes Events and status
of, and what it wrote to its standard streams are searched for every one of the words.
"""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from tests.support.identities import ROOT
from tests.support.model_servers import OPENAI, ModelServer, serving
from tests.support.otlp import Endpoint, endpoint
from tests.support.redis import RedisServer, running
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, revision_entry, serve, world
from tests.support.tracing import KEY, traced

from rolehost_api import jsonlog
from rolehost_api.crd.modelbackend import ApiKey, Breaker, Retries
from rolehost_api.crd.role import Persona, RoleTemplate
from rolehost_api.identity import key_hash
from rolehost_api.link.messages import CallModel, Commit, PatchOp, StartTurn, TurnFailed
from rolehost_runtime.gateway.app import Gateway, wall_ms
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.edge.tokens import Claims, signed, signing_key

PROVIDER_KEY, REDIS_PASSWORD, CLIENT_KEY = "sk-canary-provider-1", "canary-redis-2", "rh_9_canaryclient3"
USER, SESSION, MESSAGE_ID = "canary-user-4", "canary-session-5", "canary-message-id-6"
PERSONA, MESSAGE, FROM_POD, BUG = "canary-persona-7", "canary-message-8", "canary-pod-9", "canary-bug-10"
ISSUER = bytes.fromhex(key_hash(KEY))
TOKEN = signed(signing_key(ROOT), Claims(ISSUER, ACME.uid, "", USER, wall_ms(), wall_ms() + 3_600_000))
EXPIRED = signed(signing_key(ROOT), Claims(ISSUER, ACME.uid, "", USER, wall_ms() - 7_200_000, wall_ms() - 3_600_000))
CANARIES = (
    PROVIDER_KEY, REDIS_PASSWORD, CLIENT_KEY, USER, SESSION, MESSAGE_ID, PERSONA, MESSAGE, FROM_POD, BUG,
    TOKEN.partition(".")[2], EXPIRED.partition(".")[2], KEY,
)  # fmt: skip
CALLS = 11
"""Of the model, in all that is done here."""
NEVER_TO_CLIENTS = (PROVIDER_KEY, REDIS_PASSWORD, PERSONA, BUG)


async def repeats(pod: FakePod, channel: int, start: StartTurn) -> None:
    """A Role whose logic puts the persona before the model, and what the model's failure is called into its own."""
    pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
    result = await pod.answer(channel)
    if error := getattr(result, "error", ""):
        pod.send(channel, TurnFailed(code=error, hook=FROM_POD, error=FROM_POD, where=FROM_POD))
        return
    pod.send(channel, Commit(patch=(PatchOp("add", "/said", FROM_POD),)))


async def quotes(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, TurnFailed(code=f"{FROM_POD} {start.message}", hook=FROM_POD, error=FROM_POD, where=FROM_POD))


async def talks_nonsense(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, Commit(patch=(PatchOp("incr", f"/{FROM_POD}/{start.message}/x", 1),)))


async def echo(request: web.Request, status: int) -> web.StreamResponse:
    """All that was sent, as an error."""
    told = f"{dict(request.headers)} {await request.text()}"
    return web.json_response({"error": {"message": told, "type": told, "code": told}}, status=status, reason="No")


class Buggy:
    """Our own code, of which a bug quotes what it was doing."""

    def __init__(self, provider: Any) -> None:
        self.provider, self.is_broken = provider, False

    def stream(self, backend: Any, request: Any) -> Any:
        if self.is_broken:
            raise ValueError(f"{BUG}: {request.messages}")
        return self.provider.stream(backend, request)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """As a gateway's own process writes them, at level debug."""
    out = io.StringIO()
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.level, uvicorn.level, list(root.handlers)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", out)
        jsonlog.to_stdout("DEBUG")
    yield out
    root.handlers[:] = before[2]
    root.setLevel(before[0])
    uvicorn.setLevel(before[1])


class Everything:
    """A gateway with everything around it that may fail."""

    def __init__(self, gateway: Gateway, pod: FakePod, model: ModelServer, redis: RedisServer, buggy: Buggy) -> None:
        self.gateway, self.pod, self.model, self.redis, self.buggy = gateway, pod, model, redis, buggy
        self.heard: list[str] = []
        """What clients were told."""

    async def say(self, status: int | None = None, *, key: str = KEY, at: str = "/role/cat", **more: Any) -> None:
        body = {"message": MESSAGE, "session_id": SESSION, "client_msg_id": MESSAGE_ID, **more}
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as http,
            http.post(f"http://127.0.0.1:{self.gateway.port}{at}", json=body) as answer,
        ):
            self.heard.append(await answer.text())
            assert answer.status == (status or answer.status), self.heard[-1]


@pytest.fixture
async def everything(tmp_path: Path, collector: Endpoint, logs: io.StringIO) -> AsyncIterator[Everything]:
    (tmp_path / "key").write_text(PROVIDER_KEY)
    with running() as redis:
        await _told(redis, "", "config", "set", "requirepass", REDIS_PASSWORD)
        async with serving(OPENAI) as server:
            tables = world(ACME)
            tables.backends.put(
                ("default",),
                server.backend(
                    api_key=ApiKey(key="key"), retries=Retries(max_retries=0), breaker=Breaker(min_calls=1000)
                ),
            )
            serve(tables, revision_entry(template=RoleTemplate(persona=Persona(system=PERSONA))))
            models = ModelService(HttpProvider(KeyRing(tmp_path)), tables, wall_ms, MemoryLedger())
            buggy = Buggy(models.provider)
            store = RedisSessionStore.connect(redis.url, REDIS_PASSWORD)
            async with traced(
                collector.url, tables=tables, models=buggy, store=store, closing=(models.close, store.close)
            ) as (gateway, dialer):
                yield Everything(gateway, dialer.pods["p1"], server, redis, buggy)


@pytest.fixture
async def collector() -> AsyncIterator[Endpoint]:
    async with endpoint() as made:
        yield made


async def _told(redis: RedisServer, password: str, *words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "redis-cli", "-s", str(redis.socket), *(("-a", password) if password else ()), *words,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0


async def _harm(found: Everything) -> None:
    """Everything goes wrong that may, one after the other."""
    found.pod.turn = repeats
    await found.say(200, client_msg_id="well")
    await found.say(200, key=TOKEN)
    for status in (400, 401, 404, 429, 500, 503):
        found.model.behaviour = lambda request, status=status: echo(request, status)
        await found.say()
    for said in (b"data: {" + MESSAGE.encode(), OPENAI.trouble.replace(b"out of memory", PERSONA.encode()), b"\0" * 99):
        found.model.behaviour = found.model.saying(OPENAI.begin, said)
        await found.say()
    found.model.behaviour = None
    for turn in (quotes, talks_nonsense):
        found.pod.turn = turn
        await found.say()
    found.pod.turn = repeats
    found.buggy.is_broken = True
    await found.say(500)
    found.buggy.is_broken = False
    for key in (CLIENT_KEY, EXPIRED, TOKEN + "x", TOKEN[:-4]):
        await found.say(401, key=key)
    await found.say(at=f"/role/cat?api_key={CLIENT_KEY}&token={TOKEN}")
    await found.say(at=f"/role/{MESSAGE}")
    await found.say(at="/v1/chat/completions", model=MESSAGE, messages=[{"role": "user", "content": MESSAGE}])
    await found.say(session_id=f"{SESSION} {MESSAGE}")
    await _told(found.redis, REDIS_PASSWORD, "config", "set", "requirepass", "another")
    await _told(found.redis, "another", "client", "kill", "type", "normal")
    await found.say(session_id="after")
    found.redis.kill()
    await found.say(session_id="later")


async def test_no_word_that_must_not_be_known_is_where_a_process_speaks(
    everything: Everything, collector: Endpoint, logs: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("tests").debug("at level debug")
    await _harm(everything)
    gateway = everything.gateway
    async with asyncio.timeout(20):
        while {"model_key_refused", "internal"} - {span.error for span in collector.spans}:
            await asyncio.sleep(0.02)
    observed = await gateway.report.observed(-1, 0)
    registry = gateway.metrics.registry
    wrote = capfd.readouterr()
    places = {
        "logs": logs.getvalue(),
        "spans": b"".join(collector.bodies).decode("latin-1"),
        "metrics": (generate_latest(registry) + openmetrics(registry)).decode(),  # type: ignore[no-untyped-call]
        "what the operator is told": msgspec.json.encode(observed).decode(),
        "what else it writes": wrote.out + wrote.err,
    }
    assert [(place, word) for place, text in places.items() for word in CANARIES if word in text] == []
    assert [word for text in everything.heard for word in NEVER_TO_CLIENTS if word in text] == []
    _was_put_there(everything, places)


def _was_put_there(everything: Everything, places: dict[str, str]) -> None:
    """The words went where they may go, and every place speaks: a search through nothing would find nothing."""
    assert len(everything.model.asked) == CALLS
    for asked in everything.model.asked:
        assert PERSONA in str(asked)
    assert MESSAGE in str(everything.model.asked[0])
    assert any(PROVIDER_KEY in str(headers) for headers in everything.model.headers)
    assert "a bug while" in places["logs"]
    assert '"level": "debug"' in places["logs"]
    assert {"state_forbidden", "state_unavailable"} <= {
        json.loads(text)["error"]["code"] for text in everything.heard[-2:]
    }
    assert "model.call" in places["spans"]
    assert 'rolehost_turns_total{outcome="model_key_refused"' in places["metrics"]
