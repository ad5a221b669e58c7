"""Several answers to one message: the session keeps one of them, and each of the others begins a session that does."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from tests.integration.openai.test_openai_facade import Answer, ask, logs, saying
from tests.support.rooms import ACME, put
from tests.support.talking import USER_KEY, Talkers

from rolehost_api.crd.modelbackend import BackendSpec, Budgets, Concurrency, TokenBudget
from rolehost_api.errors import Unavailable
from rolehost_api.wire import Usage
from rolehost_runtime.gateway.broker.models.dispatcher import Desks, Dispatcher
from rolehost_runtime.gateway.broker.models.metrics import NoModelSink
from rolehost_runtime.gateway.broker.models.purse import Purses
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.edge.openai import routes
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest
from rolehost_runtime.gateway.sessions import room

KEYED = {"Idempotency-Key": "k1"}


class Numbering:
    """ports.ModelProvider whose every answer is another one. `fails`: the numbers of those that fail, and after how
    many words."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.shown: list[list[str]] = []
        self.most: list[int | None] = []
        """Tokens that each answer may have."""
        self.fails: dict[int, int] = {}
        self.gate = asyncio.Event()
        """What is past the first word."""
        self.gate.set()

    async def stream(self, backend: Any, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        number = next(self.numbers)
        self.shown.append([message.content for message in request.messages])
        self.most.append(request.max_tokens)
        for place, word in enumerate((f"{number}: ", request.messages[-1].content, ".")):
            if self.fails.get(number) == place:
                raise Unavailable("away", code="model_unavailable")
            yield word
            await self.gate.wait()
        yield ModelEnd("stop", Usage(input_tokens=10, cached_tokens=8, output_tokens=5))


@pytest.fixture
async def model() -> Numbering:
    return Numbering()


@pytest.fixture
async def house(model: Numbering) -> AsyncIterator[Talkers]:
    async with Talkers(model=model) as running:
        yield running


def texts(answer: Answer) -> list[str]:
    return [choice["message"]["content"] for choice in answer.json["choices"]]


def by_index(answer: Answer) -> dict[int, str]:
    said: dict[int, str] = {}
    for chunk in answer.chunks:
        for choice in chunk["choices"]:
            said[choice["index"]] = said.get(choice["index"], "") + choice["delta"].get("content", "")
    return said


def ends(answer: Answer) -> dict[int, str]:
    return {
        choice["index"]: choice["finish_reason"]
        for chunk in answer.chunks
        for choice in chunk["choices"]
        if choice["finish_reason"]
    }


async def test_the_first_is_the_sessions_and_the_others_are_forks_from_before_it(house: Talkers) -> None:
    await ask(house, saying("hello", session_id="s"))
    answer = await ask(house, saying("one", session_id="s", n=3))
    assert (answer.status, sorted(texts(answer))) == (200, ["2: one.", "3: one.", "4: one."])
    assert [choice["index"] for choice in answer.json["choices"]] == [0, 1, 2]
    assert answer.json["usage"]["total_tokens"] == 45
    assert answer.json["usage"]["prompt_tokens_details"] == {"cached_tokens": 24}
    kept = [choice["role"]["session_id"] for choice in answer.json["choices"]]
    assert (kept[0], len(set(kept)), answer.json["role"]["session_id"]) == ("s", 3, "s")
    first, *others = texts(answer)
    begun = [("hello", "1: hello.")]
    assert sorted(logs(house)) == sorted([*begun, ("one", said)] for said in (first, *others))
    for session_id, said in zip(kept, texts(answer), strict=True):
        more = await ask(house, saying("and?", session_id=session_id))
        assert more.status == 200
        assert [*begun, ("one", said), ("and?", more.json["choices"][0]["message"]["content"])] in logs(house)
    origin = (await ask(house, None, path=f"/v1/roles/cat/sessions/{kept[1]}")).json["forked_from"]
    assert origin == {"session_id": "s", "at_seq": 2}


async def test_of_a_session_that_was_never_spoken_in_the_others_begin_empty(house: Talkers) -> None:
    answer = await ask(house, saying("one", session_id="s", n=2))
    assert sorted(logs(house)) == sorted([("one", said)] for said in texts(answer))


async def test_without_a_session_nothing_is_kept_and_every_answer_has_the_same_past(
    house: Talkers, model: Numbering
) -> None:
    answer = await ask(house, saying("one", "told", "two", n=3))
    assert sorted(texts(answer)) == ["1: two.", "2: two.", "3: two."]
    assert [choice.get("role") for choice in answer.json["choices"]] == [None] * 3
    assert model.shown == [["You are a cat.", "one", "told", "two"]] * 3
    assert (logs(house), house.service._live) == ([], {})


async def test_a_stream_tells_each_by_its_index_and_the_sum_at_the_end(house: Talkers) -> None:
    await ask(house, saying("hello", session_id="s"))
    for body in (saying("one", session_id="s", n=3), saying("one", n=3)):
        answer = await ask(house, body | {"stream": True, "stream_options": {"include_usage": True}})
        assert answer.status == 200
        said = by_index(answer)
        assert (sorted(said), len(set(said.values()))) == ([0, 1, 2], 3)
        assert all(text.endswith(": one.") for text in said.values())
        assert ends(answer) == {0: "stop", 1: "stop", 2: "stop"}
        assert len({chunk["id"] for chunk in answer.chunks}) == 1
        assert [chunk["usage"]["total_tokens"] for chunk in answer.chunks if chunk["usage"]] == [45]
        assert answer.chunks[-1]["choices"] == []
    assert house.hub.sockets == 0


async def test_the_same_request_again_is_answered_with_the_same_choices(house: Talkers, model: Numbering) -> None:
    await ask(house, saying("hello", session_id="s"))
    answers = [await ask(house, saying("one", session_id="s", n=3), headers=KEYED) for _ in range(2)]
    assert texts(answers[0]) == texts(answers[1])
    await ask(house, saying("later", session_id="s"))
    streamed = await ask(house, saying("one", session_id="s", n=3, stream=True), headers=KEYED)
    assert list(map(by_index(streamed).get, range(3))) == texts(answers[0])
    more = await ask(house, saying("one", session_id="s", n=4), headers=KEYED)
    assert texts(more)[:3] == texts(answers[0])
    assert model.shown[-1] == ["You are a cat.", "hello", "1: hello.", "one"], "the fourth begins where the others did"
    assert (len(model.shown), len(logs(house))) == (6, 4)


async def test_two_of_the_same_request_at_once_are_one(house: Talkers, model: Numbering) -> None:
    await ask(house, saying("hello", session_id="s"))
    both = await asyncio.gather(*(ask(house, saying("one", session_id="s", n=3), headers=KEYED) for _ in range(2)))
    assert [answer.status for answer in both] == [200, 200]
    assert texts(both[0]) == texts(both[1])
    assert (len(model.shown), len(logs(house))) == (4, 3)


async def test_another_message_between_does_not_get_into_the_branches(house: Talkers, model: Numbering) -> None:
    await ask(house, saying("hello", session_id="s"))
    model.gate.clear()
    before = asyncio.create_task(ask(house, saying("before", session_id="s")))
    async with asyncio.timeout(5):
        while len(model.shown) < 2:
            await asyncio.sleep(0.001)
    asking = asyncio.create_task(ask(house, saying("one", session_id="s", n=2)))
    await asyncio.sleep(0.05)
    model.gate.set()
    answer, _ = await asyncio.gather(asking, before)
    past = ["You are a cat.", "hello", "1: hello.", "before", "2: before.", "one"]
    assert model.shown[2:] == [past, past]
    assert [len(log) for log in logs(house)] == [3, 3]
    assert answer.status == 200


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("number", [2, 3], ids=["the session's", "a branch's"])
async def test_one_that_fails_before_anything_was_told_fails_them_all_and_may_be_asked_for_again(
    house: Talkers, model: Numbering, streams: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(house, saying("hello", session_id="s"))
    model.fails[number] = 0
    if streams:
        model.gate.clear()
        monkeypatch.setattr(routes, "FIRST_WORD_SECONDS", 5)
    body = saying("one", session_id="s", n=2)
    asking = asyncio.create_task(ask(house, body | {"stream": streams and number == 2}, headers=KEYED))
    await asyncio.sleep(0.05)
    model.gate.set()
    answer = await asking
    assert (answer.status, answer.code, answer.headers["x-should-retry"]) == (503, "model_unavailable", "true")
    again = await ask(house, body, headers=KEYED)
    assert (again.status, len(set(texts(again)))) == (200, 2)
    assert sorted(logs(house)) == sorted([("hello", "1: hello."), ("one", said)] for said in texts(again))
    assert house.hub.sockets == 0


@pytest.mark.parametrize("kept", [False, True])
async def test_one_that_fails_in_the_middle_of_a_stream_ends_by_itself(
    house: Talkers, model: Numbering, kept: bool
) -> None:
    await ask(house, saying("hello", session_id="s"))
    model.fails[3] = 2
    model.gate.clear()
    asking = asyncio.create_task(ask(house, saying("one", n=2, stream=True, **({"session_id": "s"} if kept else {}))))
    async with asyncio.timeout(5):
        while len(model.shown) < 3:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    model.gate.set()
    answer = await asking
    assert answer.status == 200
    assert sorted(ends(answer).values()) == ["error", "stop"]
    (why,) = [
        chunk["role"] for chunk in answer.chunks if chunk["choices"] and chunk["choices"][0]["finish_reason"] == "error"
    ]
    assert (why["type"], why["error"]["code"]) == ("error", "model_unavailable")
    past = [("hello", "1: hello.")]
    assert sorted(logs(house), key=len) == ([past, [*past, ("one", "2: one.")]] if kept else [past])


async def test_a_client_that_goes_cancels_none_of_them(house: Talkers, model: Numbering) -> None:
    model.gate.clear()
    asking = asyncio.create_task(ask(house, saying("one", session_id="s", n=2, stream=True)))
    async with asyncio.timeout(5):
        while len(model.shown) < 2:
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        model.gate.set()
        while len(house.store.shelf.logs) < 2:
            await asyncio.sleep(0.001)
    assert sorted(logs(house)) == [[("one", "1: one.")], [("one", "2: one.")]]


async def test_each_counts_as_a_session_of_its_user(house: Talkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_OF_USER", 3)
    for more in ({"session_id": "s"}, {}):
        answer = await ask(house, saying("one", user="u-1", n=4, **more), key=USER_KEY)
        assert (answer.status, answer.code) == (429, "too_many_sessions")
    assert (await ask(house, saying("one", user="u-1", n=3), key=USER_KEY)).status == 200


async def test_with_a_users_token_the_branches_are_theirs(house: Talkers) -> None:
    answer = await ask(house, saying("one", user="u-1", session_id="s", n=2), key=USER_KEY)
    branch = answer.json["choices"][1]["role"]["session_id"]
    for user, status in (("u-1", 200), ("u-2", 404)):
        path = f"/v1/roles/cat/sessions/{branch}?user={user}"
        assert (await ask(house, None, key=USER_KEY, path=path)).status == status
    assert (await ask(house, None, path=f"/v1/roles/cat/sessions/{branch}")).status == 404


# ── what each may take ──────────────────────────────────────────────────────────────


class Governed:
    """ports.ModelProvider: what is set later."""

    by: ModelProvider

    def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        return self.by.stream(backend, request)


class Refusals(NoModelSink):
    """Counts calls that no budget was left for."""

    refused = 0

    def over_budget(self, tenant: str, backend: str) -> None:
        self.refused += 1


class Budgeted:
    """A house whose calls of the model are governed as the cluster's are."""

    def __init__(self, model: Numbering) -> None:
        self.model, self.ledger, governed = model, MemoryLedger(), Governed()
        self.house = Talkers(model=governed)
        tables, self.sink = self.house.tables, Refusals()
        self.purses = Purses(self.ledger, self.house.clock)
        self.desks = Desks(tables, self.sink)
        governed.by = Dispatcher(model, tables, self.desks, self.purses, self.sink)

    @property
    def spec(self) -> BackendSpec:
        spec = self.house.tables.backends.get("default")
        assert spec is not None
        return spec

    def declare(self, **fields: Any) -> None:
        self.house.tables.backends.put(("default",), msgspec.structs.replace(self.spec, **fields))

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not so():
                await asyncio.sleep(0.001)

    async def spent(self) -> int:
        """Of today's budget; what is left of leases is given back first."""
        await self.purses.close()
        return sum((amount.tokens for amount in self.ledger.board.values()), 0)


@pytest.fixture
async def budgeted(model: Numbering) -> AsyncIterator[Budgeted]:
    made = Budgeted(model)
    async with made.house:
        yield made


@pytest.mark.parametrize("kept", [False, True])
async def test_each_is_paid_from_the_tenants_budget(budgeted: Budgeted, kept: bool) -> None:
    budgeted.declare(budgets=Budgets(per_tenant=TokenBudget(tokens_per_day=100_000)))
    answer = await ask(budgeted.house, saying("one", n=3, **({"session_id": "s"} if kept else {})))
    assert (answer.status, answer.json["usage"]["total_tokens"]) == (200, 45)
    assert await budgeted.spent() == 45


@pytest.mark.parametrize("kept", [False, True])
async def test_what_the_budget_has_not_enough_for_is_not_begun(
    budgeted: Budgeted, model: Numbering, kept: bool
) -> None:
    budgeted.declare(
        budgets=Budgets(per_tenant=TokenBudget(tokens_per_day=2_500))
    )  # each may take 1,024, and its prompt
    model.gate.clear()
    more = {"session_id": "s"} if kept else {}
    asking = asyncio.create_task(ask(budgeted.house, saying("one", n=3, **more)))
    await budgeted.until(lambda: len(model.shown) == 2 and budgeted.sink.refused == 1)
    model.gate.set()
    answer = await asking
    assert (answer.status, answer.code, len(model.shown)) == (429, "budget_exhausted", 2)
    assert await budgeted.spent() == 30


async def test_each_has_a_place_in_the_line_of_the_model(budgeted: Budgeted, model: Numbering) -> None:
    budgeted.declare(concurrency=Concurrency(max_calls=2))
    model.gate.clear()
    asking = asyncio.create_task(ask(budgeted.house, saying("one", n=3)))
    line = budgeted.desks.of("default", budgeted.spec).turnstile
    await budgeted.until(lambda: line.waiting == 1 and len(model.shown) == 2)
    model.gate.set()
    assert ((await asking).status, len(model.shown)) == (200, 3)


async def test_each_has_the_tokens_of_a_turn(budgeted: Budgeted, model: Numbering) -> None:
    role = budgeted.house.tables.roles.get(ACME.name, "cat")
    assert role is not None
    sessions = msgspec.structs.replace(role.spec.sessions, max_turn_tokens=100)
    spec = msgspec.structs.replace(role.spec, sessions=sessions)
    put(budgeted.house.tables, type(role)(role.tenant, role.name, spec, role.stable))
    answer = await ask(budgeted.house, saying("one", n=3))
    assert answer.status == 200
    (most,) = set(model.most)
    assert most is not None
    assert 80 < most < 100
