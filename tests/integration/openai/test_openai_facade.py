"""The facade over real sessions: what the model is shown, what is kept, and what goes wrong in whose words."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.logs import turns
from tests.support.rooms import ACME, EVIL
from tests.support.talking import KEYS, USER_KEY, Talkers

from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_api.identity import key_hash
from rolehost_api.wire import Usage
from rolehost_runtime.core.record import decode
from rolehost_runtime.gateway.edge import stream
from rolehost_runtime.gateway.edge.openai import routes
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

RECORDED = Path(__file__).parent / "recorded"
KEY = KEYS[ACME]


class Listening:
    """ports.ModelProvider that keeps what it is shown, and answers in two pieces."""

    def __init__(self) -> None:
        self.shown: list[list[tuple[str, str]]] = []
        self.refuses: RolehostError | None = None
        self.dies: RolehostError | None = None
        """After the first piece."""
        self.reason = "stop"
        self.gate = asyncio.Event()
        self.gate.set()

    async def stream(self, backend: Any, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        self.shown.append([(message.role, message.content) for message in request.messages])
        await self.gate.wait()
        if self.refuses is not None:
            raise self.refuses
        yield "You said "
        if self.dies is not None:
            raise self.dies
        yield f"{request.messages[-1].content}."
        yield ModelEnd(self.reason, Usage(input_tokens=10, cached_tokens=8, output_tokens=5))


@pytest.fixture
async def model() -> Listening:
    return Listening()


@pytest.fixture
async def house(model: Listening) -> AsyncIterator[Talkers]:
    async with Talkers(model=model) as running:
        yield running


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def chunks(self) -> list[Any]:
        blocks = [block for block in self.body.decode().split("\n\n") if block.startswith("data: ")]
        assert blocks[-1] == "data: [DONE]", self.body
        return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]

    @property
    def text(self) -> str:
        return "".join(c["delta"].get("content", "") for chunk in self.chunks for c in chunk["choices"])

    @property
    def code(self) -> str:
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return str(error["code"])


async def ask(
    house: Talkers,
    body: Any,
    *,
    key: str = KEY,
    headers: dict[str, str] | None = None,
    path: str = "/v1/chat/completions",
) -> Answer:
    sent = {"Authorization": f"Bearer {key}", **(headers or {})}
    method = "GET" if body is None else "POST"
    async with aiohttp.ClientSession() as http, http.request(method, house.url + path, headers=sent, json=body) as got:
        return Answer(got.status, got.headers, await got.read())


def saying(*messages: str, **more: Any) -> dict[str, Any]:
    """Messages of user and assistant in turns, the last of them the user's."""
    speakers = ["user" if number % 2 == 0 else "assistant" for number in range(len(messages))]
    said = [{"role": speaker, "content": text} for speaker, text in zip(speakers, messages, strict=True)]
    return {"model": "cat", "messages": said, **more}


def logs(house: Talkers) -> list[list[tuple[str, str]]]:
    """What was said in each log that there is."""
    return [[(turn.input, turn.reply) for turn in turns(map(decode, log))] for log in house.store.shelf.logs.values()]


# ── whose history ───────────────────────────────────────────────────────────────────


async def test_with_a_session_its_log_is_the_history_and_the_clients_is_not_believed(
    house: Talkers, model: Listening
) -> None:
    await ask(house, saying("one", session_id="s"))
    answer = await ask(house, saying("one", "a lie", "two", session_id="s"))
    assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "You said two.")
    assert model.shown[1] == [
        ("system", "You are a cat."), ("user", "one"), ("assistant", "You said one."), ("user", "two"),
    ]  # fmt: skip
    assert logs(house) == [[("one", "You said one."), ("two", "You said two.")]]
    assert answer.headers[routes.SESSION] == "s"


async def test_without_one_the_request_is_the_history_and_nothing_is_kept(house: Talkers, model: Listening) -> None:
    answer = await ask(house, saying("one", "told", "two"))
    assert answer.json["choices"][0]["message"]["content"] == "You said two."
    assert model.shown == [[("system", "You are a cat."), ("user", "one"), ("assistant", "told"), ("user", "two")]]
    assert (logs(house), house.store.shelf.heads, house.service._live) == ([], {}, {})
    room = house.service._world.room
    assert (room._attached, room._folds, room._total) == ({}, {}, 0)
    assert routes.SESSION not in answer.headers


async def test_an_answer_leads_back_to_its_session(house: Talkers) -> None:
    first = await ask(house, saying("one", session_id="s"))
    second = await ask(house, saying("two", previous_response_id=first.json["id"]))
    assert second.headers[routes.SESSION] == "s"
    assert len(logs(house)[0]) == 2


async def test_the_same_request_again_is_answered_from_the_log(house: Talkers, model: Listening) -> None:
    for streams in (False, True):
        again = [
            await ask(house, saying("one", session_id="s", stream=streams), headers={"Idempotency-Key": "k1"})
            for _ in range(2)
        ]
        texts = [one.text if streams else one.json["choices"][0]["message"]["content"] for one in again]
        assert texts == ["You said one."] * 2
    assert (len(model.shown), len(logs(house)[0])) == (1, 1)


async def test_the_session_is_the_same_one_that_sockets_and_rest_see(house: Talkers) -> None:
    ear = await house.say("s", "from inside")
    await ask(house, saying("from outside", session_id="s"))
    assert [event.seq for event in ear.heard if event.seq is not None] == [1, 2, 3, 4]


async def test_another_tenants_session_of_the_same_name_is_another(house: Talkers, model: Listening) -> None:
    await ask(house, saying("a secret", session_id="s"))
    await ask(house, saying("hello", session_id="s"), key=KEYS[EVIL])
    assert "a secret" not in str(model.shown[1])


# ── chunks ──────────────────────────────────────────────────────────────────────────


async def test_a_stream_is_chunks_with_our_events_beside_them(house: Talkers) -> None:
    answer = await ask(house, saying("one", stream=True, stream_options={"include_usage": True}))
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.text == "You said one."
    events = [chunk["role"]["type"] for chunk in answer.chunks if "role" in chunk]
    assert events == ["response.created", "role.state.delta", "response.done"]
    assert answer.chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 8}
    assert house.hub.sockets == 0


@pytest.mark.parametrize(
    ("reason", "told"), [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop")]
)
async def test_why_the_model_stopped_is_told_also_from_the_log(
    house: Talkers, model: Listening, reason: str, told: str
) -> None:
    model.reason = reason
    for _ in range(2):
        answer = await ask(house, saying("one", session_id="s"), headers={"Idempotency-Key": "k1"})
        assert answer.json["choices"][0]["finish_reason"] == told
    chunks = (await ask(house, saying("two", session_id="s", stream=True))).chunks
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == told


async def test_a_client_that_goes_does_not_cancel_its_turn(house: Talkers, model: Listening) -> None:
    model.gate.clear()
    asking = asyncio.create_task(ask(house, saying("one", session_id="s", stream=True)))
    async with asyncio.timeout(5):
        while not model.shown:
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        model.gate.set()
        while not house.store.shelf.logs:
            await asyncio.sleep(0.001)
    assert logs(house) == [[("one", "You said one.")]]


async def test_a_slow_model_is_waited_for_with_comments(
    house: Talkers, model: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(routes, "FIRST_WORD_SECONDS", 0.01)
    model.gate.clear()
    sent, body = {"Authorization": f"Bearer {KEY}"}, saying("one", stream=True)
    async with aiohttp.ClientSession() as http, http.post(f"{house.url}/v1/chat/completions", headers=sent, json=body) as got:  # fmt: skip
        assert await got.content.readuntil(b"\n\n") == b": still here\n\n"
        model.gate.set()
        answer = Answer(got.status, got.headers, await got.read())
    assert answer.text == "You said one."


async def test_a_turn_that_runs_ends_while_the_gateway_leaves(house: Talkers, model: Listening) -> None:
    model.gate.clear()
    asking = asyncio.create_task(ask(house, saying("one", stream=True)))
    async with asyncio.timeout(5):
        while not model.shown:
            await asyncio.sleep(0.001)
    draining = asyncio.create_task(house.hub.drain(0, 10))
    await asyncio.sleep(0)
    model.gate.set()
    assert (await asking).text == "You said one."
    await draining


# ── what goes wrong ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("error", "status", "again"),
    [
        (Unavailable("away", code="model_unavailable"), 503, "true"),
        (BadRequest("no", code="model_refused"), 400, "false"),
    ],
)
async def test_what_fails_before_the_first_word_is_a_status(
    house: Talkers, model: Listening, streams: bool, error: RolehostError, status: int, again: str
) -> None:
    model.refuses = error
    answer = await ask(house, saying("one", session_id="s", stream=streams))
    assert (answer.status, answer.code, answer.headers["x-should-retry"]) == (status, error.code, again)
    assert logs(house) == []


async def test_what_fails_after_it_is_told_in_the_stream_and_the_stream_is_not_done(
    house: Talkers, model: Listening
) -> None:
    model.dies = Unavailable("away", code="model_unavailable")
    answer = await ask(house, saying("one", session_id="s", stream=True))
    *_, last = [block for block in answer.body.decode().split("\n\n") if block]
    assert answer.status == 200
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_unavailable"
    assert logs(house) == []


async def test_a_key_that_is_revoked_in_the_middle_is_told(
    house: Talkers, model: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "FIRST_WORD_SECONDS", 0.01)
    model.gate.clear()
    asking = asyncio.create_task(ask(house, saying("one", stream=True)))
    async with asyncio.timeout(5):
        while not house.hub.sockets:
            await asyncio.sleep(0.001)
    house.tables.keys.drop((key_hash(KEY),))
    assert b"key_revoked" in (await asking).body
    model.gate.set()


async def test_a_key_that_is_revoked_before_the_first_word_is_a_status(house: Talkers, model: Listening) -> None:
    model.gate.clear()
    asking = asyncio.create_task(ask(house, saying("one", stream=True)))
    async with asyncio.timeout(5):
        while not house.hub.sockets:
            await asyncio.sleep(0.001)
    house.tables.keys.drop((key_hash(KEY),))
    answer = await asking
    assert (answer.status, answer.code, house.hub.sockets) == (401, "key_revoked", 0)
    model.gate.set()


@pytest.mark.parametrize(
    ("body", "key", "status", "code", "kind"),
    [
        (saying("one", n=9), KEY, 400, "n_not_supported", "invalid_request_error"),
        (saying("one") | {"model": "nobody"}, KEY, 404, "role_not_found", "invalid_request_error"),
        (saying("one") | {"model": "evil/cat"}, KEY, 404, "role_not_found", "invalid_request_error"),
        (saying("one") | {"model": "cat@r9"}, KEY, 404, "revision_not_found", "invalid_request_error"),
        (saying("one", session_id="a b"), KEY, 400, "invalid_session_id", "invalid_request_error"),
        (saying("one", "two"), KEY, 400, "last_message_not_user", "invalid_request_error"),
        (saying("one"), "wrong", 401, "unauthorized", "authentication_error"),
        ({"model": "cat"}, KEY, 400, "invalid_request", "invalid_request_error"),
        (saying("x" * 1_100_000), KEY, 413, "body_too_large", "invalid_request_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_errors_are_in_their_shape(
    house: Talkers, body: dict[str, Any], key: str, status: int, code: str, kind: str, streams: bool
) -> None:
    answer = await ask(house, body | {"stream": streams}, key=key)
    assert (answer.status, answer.code, answer.json["error"]["type"]) == (status, code, kind)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/v1/models/nobody", None, 404), ("/v1/embeddings", {}, 404), ("/v1/chat/completions", None, 405)],
)
async def test_what_is_not_there_is_told_in_their_shape_too(house: Talkers, path: str, body: Any, status: int) -> None:
    answer = await ask(house, body, path=path)
    assert (answer.status, bool(answer.code)) == (status, True)


async def test_a_history_larger_than_a_frame_is_read(house: Talkers, model: Listening) -> None:
    answer = await ask(house, saying(*["y" * 20_000] * 14, "now"))
    assert answer.status == 200
    assert sum(len(text) for _, text in model.shown[0]) > 280_000


# ── parameters and models ───────────────────────────────────────────────────────────


async def test_parameters_that_do_nothing_are_named(house: Talkers) -> None:
    answer = await ask(house, saying("one", temperature=0.1, seed=7, user="u-1", stream=True))
    assert answer.headers[routes.DROPPED] == "seed, temperature, user"
    assert routes.DROPPED not in (await ask(house, saying("one", n=1))).headers


async def test_a_key_that_may_say_who_the_user_is_does(house: Talkers) -> None:
    answer = await ask(house, saying("one", user="u-1", session_id="s"), key=USER_KEY)
    assert routes.DROPPED not in answer.headers
    (log,) = house.store.shelf.logs.values()
    assert [turn.user for turn in turns(map(decode, log))] == ["u-1"]


async def test_the_keys_roles_are_its_models(house: Talkers) -> None:
    listed = (await ask(house, None, path="/v1/models")).json
    assert listed == {
        "object": "list",
        "data": [
            {
                "id": "cat", "object": "model", "created": 0, "owned_by": "acme",
                "role": {"display_name": "cat", "greeting": "Meow.", "revision": "cat@r1", "ready": True},
            }
        ],
    }  # fmt: skip
    assert (await ask(house, None, path="/v1/models/Cat")).json == listed["data"][0]
    assert (await ask(house, None, path="/v1/models/acme/cat")).json == listed["data"][0]
    assert (await ask(house, None, path="/v1/models/acme/cat", key=KEYS[EVIL])).status == 404


# ── as others send it ───────────────────────────────────────────────────────────────


def recorded(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


async def test_a_chat_of_open_webui_is_one_session_without_a_double_history(house: Talkers, model: Listening) -> None:
    first, second = [
        await ask(house, request["body"], headers=request["headers"]) for request in recorded("open_webui")
    ]
    assert (first.text, second.text) == ("You said Tell me of a dragon.", "You said once again.")
    assert model.shown[1] == [
        ("system", "You are a cat."), ("user", "Tell me of a dragon"), ("assistant", "You said Tell me of a dragon."),
        ("user", "once again"),
    ]  # fmt: skip
    assert [len(log) for log in logs(house)] == [2]
    assert "usage" in second.chunks[-1]
    assert second.headers[routes.DROPPED] == "temperature"


async def test_a_chat_of_sillytavern_is_folded_below_the_persona(house: Talkers, model: Listening) -> None:
    (request,) = recorded("sillytavern")
    answer = await ask(house, request["body"], headers=request["headers"])
    assert answer.text == "You said once again."
    system, *said = model.shown[0]
    assert system[0] == "system"
    assert system[1].split("\n\n") == [
        "You are a cat.", "Write Mia's next reply in a fictional chat between Mia and Ada.", "[Mia is a ship's cat.]",
        "[Start a new Chat]", "[Stay in character.]",
    ]  # fmt: skip
    assert said == [
        ("assistant", "*yawns* Who are you?"), ("user", "I am Ada."), ("assistant", "Ada. Hm."), ("user", "once again"),
    ]  # fmt: skip
    assert logs(house) == []
