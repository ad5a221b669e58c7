"""What a turn tells of the model that answered it, and what it may take."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.support.house import House
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, put, world
from tests.support.talking import ask_or_fail

from rolehost_api.errors import Overloaded
from rolehost_api.link.messages import CallModel, Commit, ModelResult, Say, StartTurn
from rolehost_api.wire import ResponseDone, Said, Usage
from rolehost_runtime.core.models.caching import cache_key
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.metrics import PrometheusSink


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House(world(ACME))
    made.slow_model()
    await made.pool.start()
    made.pod("p1")
    yield made
    await made.service.stop(0)
    await made.pool.stop()


def limited(house: House, **sessions: Any) -> None:
    role = house.tables.roles.get(ACME.name, "cat")
    assert role is not None
    spec = replace(role.spec, sessions=replace(role.spec.sessions, **sessions))
    put(house.tables, type(role)(role.tenant, role.name, spec, role.stable))


async def test_who_answered_is_told_and_kept_and_a_fallback_is_called_one(house: House) -> None:
    handle, ear = await house.attach()
    for model in ("default/m", "spare/small"):
        for item in ("Once", ModelEnd("stop", Usage(output_tokens=1), model)):
            house.slow.pieces.put_nowait(item)
        await handle.say(Said(message="hello"))
    own, other = ear.of(ResponseDone)
    assert own.model == "default/m"
    assert other.model == "spare/small"
    assert [(one.hook, one.code, one.where) for one in other.degraded] == [("model", "fallback", "spare/small")]
    assert [getattr(record, "model", None) for record in await house.log()] == ["default/m", "spare/small"]
    assert house.slow.asked[0].backend == "default"
    assert house.slow.asked[0].tenant == ACME.name


async def test_a_turn_takes_no_more_tokens_than_it_may(house: House) -> None:
    limited(house, max_turn_tokens=100)

    async def greedy(pod: FakePod, channel: int, start: StartTurn) -> None:
        for index in (0, 1):
            pod.send(channel, CallModel(index=index, segments=DEFAULT_SEGMENTS, stream=False, max_tokens=500))
            result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        pod.send(channel, Say(index=2, text=result.error))
        pod.send(channel, Commit())

    house.dialer.pods["p1"].turn = greedy
    handle, ear = await house.attach()
    house.slow.pieces.put_nowait(ModelEnd("stop", Usage(input_tokens=10, output_tokens=90)))
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[0].message == "turn_tokens_spent"
    (asked,) = house.slow.asked
    assert asked.max_tokens is not None
    assert 0 < asked.max_tokens < 100


async def test_an_answer_gets_no_bound_of_its_own_while_much_is_left(house: House) -> None:
    handle, _ = await house.attach()
    house.slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await handle.say(Said(message="hello"))
    assert house.slow.asked[0].max_tokens is None
    assert house.slow.asked[0].deadline is None


async def test_what_is_the_same_in_every_call_is_marked(house: House) -> None:
    handle, _ = await house.attach()
    house.slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await handle.say(Said(message="hello"))
    first = house.slow.asked[0].messages[0]
    assert first.role == "system"
    assert house.slow.asked[0].stable_chars == len(first.content)


async def test_a_call_names_its_tenants_revision_to_the_server_and_two_tenants_never_the_same(house: House) -> None:
    handle, _ = await house.attach()
    house.slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await handle.say(Said(message="hello"))
    (asked,) = house.slow.asked
    role = house.tables.roles.get(ACME.name, "cat")
    assert role is not None
    entry = house.tables.revisions.get(ACME.name, role.stable)
    assert entry is not None
    assert asked.cache_key == cache_key(ACME.uid, entry.spec.hash)
    assert ACME.name not in asked.cache_key
    assert asked.cache_key != cache_key("another", entry.spec.hash)


def test_what_servers_had_of_prompts_is_counted_for_each_role() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    sink.prompted("acme", "cat", Usage(input_tokens=100, cached_tokens=80))
    sink.prompted("acme", "cat", Usage(input_tokens=100, estimated=True))
    found = {cached: registry.get_sample_value(
        "rolehost_prompt_tokens_total", {"tenant": "acme", "role": "cat", "cached": cached}
    ) for cached in ("yes", "no")}  # fmt: skip
    assert found == {"yes": 80, "no": 20}


async def test_a_refusal_for_the_budget_reaches_the_client_with_its_pause(house: House) -> None:
    spent = Overloaded("spent", code="budget_exhausted")
    spent.retry_after_ms = 5000
    house.slow.pieces.put_nowait(spent)
    house.dialer.pods["p1"].turn = ask_or_fail
    handle, ear = await house.attach()
    with pytest.raises(Overloaded):
        await handle.say(Said(message="hello"))
    error = ear.of(ResponseDone)[0].error
    assert (error.code, error.retryable, error.retry_after_ms) == ("budget_exhausted", True, 5000)
