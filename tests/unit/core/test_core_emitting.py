"""Frames of a Role's own: only `custom.`, only so large and so many, and part of the turn."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost import Role, Turn
from rolehost_api.link.messages import MAX_EMITTED, Commit, Emitted, ModelResult, StartTurn
from rolehost_runtime.core.emitting import MAX_EMITTED_BYTES, InvalidEmit, check, emitted
from rolehost_runtime.core.engine import TurnEngine
from rolehost_runtime.core.record import TurnRecord, event_count, render


@pytest.mark.parametrize(
    "name",
    ["mood", "response.done", "custom", "custom.", "custom.A", "custom..a", "custom.a ", "custom." + 60 * "x", 7],
)
def test_no_other_name_is_a_roles_to_use(name: Any) -> None:
    with pytest.raises(InvalidEmit):
        emitted(name, {})
    with pytest.raises(InvalidEmit):
        check([Emitted(str(name), {})])


@pytest.mark.parametrize(
    "data", [[], "text", None, {1: 2}, {"a": object()}, {"a": float("nan")}, {"a": 2**64}, {"a": b"bytes"}]
)
def test_data_is_plain_json(data: Any) -> None:
    with pytest.raises(InvalidEmit):
        emitted("custom.mood", data)


def nested(depth: int) -> Any:
    return {} if not depth else {"a": nested(depth - 1)}


def test_it_is_bounded() -> None:
    with pytest.raises(InvalidEmit):
        emitted("custom.mood", nested(40))
    with pytest.raises(InvalidEmit) as large:
        emitted("custom.mood", {"text": MAX_EMITTED_BYTES * "x"})
    assert large.value.code == "emit_too_large"
    frames = [emitted("custom.mood", {})] * MAX_EMITTED
    with pytest.raises(InvalidEmit) as many:
        emitted("custom.mood", {}, frames)
    assert many.value.code == "too_many_emitted"
    with pytest.raises(InvalidEmit) as all_of_it:
        check([emitted("custom.mood", {"text": 16_000 * "x"})] * 5)
    assert all_of_it.value.code == "emit_too_large"


def test_what_is_changed_later_was_not_emitted() -> None:
    data = {"levels": [1]}
    made = emitted("custom.mood", data)
    data["levels"].append(2)
    assert made.data == {"levels": [1]}


@given(count=st.integers(0, MAX_EMITTED), steps=st.booleans())
def test_a_record_says_how_many_events_it_is(count: int, steps: bool) -> None:
    frames = tuple(Emitted("custom.mood", {"number": number}) for number in range(count))
    record = TurnRecord(
        log_id="l", epoch=1, turn=1, seq_first=5, seq_count=event_count((), emitted=count), version=0, now_ms=0, at_ms=0,
        revision="cat-1", response_id="r1", input="", reply="", emitted=frames,
    )  # fmt: skip
    events = render(record, "abc", replay=steps)
    assert [event.seq for event in events] == list(range(5, 5 + record.seq_count))
    assert [event.data["number"] for event in events[:-1]] == list(range(count))  # type: ignore[union-attr]


def start() -> StartTurn:
    return StartTurn(
        session="s", session_id="abc", turn=1, version=0, message="hi", now_ms=0, rng_seed=1, deadline_ms=9
    )


def commit(role: Role[Any]) -> Commit:
    engine = TurnEngine(role, start(), {})
    out = engine.begin()
    while not engine.done:
        out = engine.resume(ModelResult(index=0, text="Meow."))
    assert isinstance(out[-1], Commit)
    return out[-1]


def test_a_hook_that_fails_emitted_nothing() -> None:
    cat = Role("cat")

    @cat.on_message
    def fails(t: Turn[Any]) -> None:
        t.emit("custom.lost", {})
        raise ValueError

    @cat.on_reply
    def purr(t: Turn[Any]) -> None:
        t.emit("custom.purr", {"loud": True})

    assert commit(cat).emitted == (Emitted("custom.purr", {"loud": True}),)


def test_a_wrong_name_is_the_hooks_fault_by_its_code() -> None:
    cat = Role("cat")

    @cat.on_message
    def fakes(t: Turn[Any]) -> None:
        t.emit("response.done", {})

    done = commit(cat)
    assert done.emitted == ()
    assert [one.code for one in done.degraded] == ["invalid_emit"]
