"""Several answers in one stream: each word once, under its own index; and where the branches of a session begin."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.edge import NOW_MS, created
from tests.unit.openai.test_openai_chunks import PIECES, turn

from rolehost_api import wire
from rolehost_runtime.gateway.edge.openai.choices import Before
from rolehost_runtime.gateway.edge.openai.several import Several, branch_name

BASE: dict[str, Any] = {"ts": NOW_MS, "seq": None}
AWAY = wire.ErrorBody(code="model_unavailable", message="away", retryable=True)


def several(n: int, *, include_usage: bool = True) -> Several:
    made = Several("cat", "s0", "c1", include_usage=include_usage, n=n)
    for index in range(n):
        made.listen(index, f"s{index}")
    return made


def events(pieces: list[list[str]]) -> list[list[wire.ServerFrame]]:
    return [
        [replace(event, session_id=f"s{index}") for event in turn(mine, response_id=f"r{index}")]
        for index, mine in enumerate(pieces)
    ]


def told(tongue: Several, said: list[wire.ServerFrame]) -> list[Any]:
    raw = b"".join(map(tongue.said, said)) + tongue.ended()
    blocks = [block.removeprefix(b"data: ") for block in raw.split(b"\n\n") if block]
    return [block.decode() if block == b"[DONE]" else json.loads(block) for block in blocks]


@given(st.lists(PIECES, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_whatever_order_they_come_in_each_is_told_whole_under_its_index(pieces: list[list[str]], dice: Any) -> None:
    waiting = events(pieces)
    mixed = []
    while any(waiting):
        mixed.append(dice.choice([left for left in waiting if left]).pop(0))
    *chunks, done = told(several(len(pieces)), mixed)
    said = ["" for _ in pieces]
    ends = [0 for _ in pieces]
    for chunk in chunks:
        for choice in chunk["choices"]:
            assert not ends[choice["index"]], "something came after its end"
            said[choice["index"]] += choice["delta"].get("content", "")
            ends[choice["index"]] += choice["finish_reason"] == "length"
    assert said == ["".join(mine) for mine in pieces]
    assert (ends, done) == ([1] * len(pieces), "[DONE]")
    assert len({chunk["id"] for chunk in chunks}) == 1
    usages = [chunk["usage"]["total_tokens"] for chunk in chunks if chunk["usage"]]
    assert (usages, chunks[-1]["choices"]) == ([15 * len(pieces)], [])


def test_one_that_fails_ends_alone_and_is_not_in_the_sum() -> None:
    (begun, delta, *rest), (other, *_) = events([["Me"], []])
    failed = wire.ResponseDone(
        **BASE, session_id="s1", response_id="r1", status="failed", message="", client_msg_id="c1", error=AWAY
    )
    error = wire.Error(**BASE, session_id="s1", error=AWAY)
    *chunks, usage, done = told(several(2), [begun, delta, other, failed, error, *rest])
    reasons = {choice["index"]: choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]}
    assert (reasons, done) == ({0: "length", 1: "error"}, "[DONE]")
    assert [chunk["role"]["error"]["code"] for chunk in chunks if chunk.get("role", {}).get("type") == "error"] == [
        "model_unavailable"
    ]
    assert usage["usage"]["total_tokens"] == 15


def test_before_anything_was_said_a_failure_is_left_to_the_status() -> None:
    tongue = several(2)
    assert told(tongue, [wire.Error(**BASE, session_id="s1", error=AWAY)]) == []
    assert not tongue.head.began


def test_what_is_said_to_the_connection_ends_them_all() -> None:
    (begun, delta, *rest), _ = events([["Me"], []])
    revoked = wire.Error(**BASE, session_id=None, error=wire.ErrorBody(code="key_revoked", message="no"))
    last = told(several(2), [begun, delta, revoked, *rest])[-1]
    assert last["error"]["code"] == "key_revoked"


@given(st.text(max_size=9), st.text(max_size=9), st.integers(0, 99), st.integers(1, 7))
def test_a_branchs_name_is_a_session_id_and_says_what_it_is_of(word: str, said: str, at: int, index: int) -> None:
    name = branch_name(word, said, at, index)
    assert (len(name) <= 128, name.isascii(), " " in name) == (True, True, False)
    others = {branch_name(word, said, at + 1, index), branch_name(word, said, at, index + 1)}
    assert name not in others


# ── where branches begin ────────────────────────────────────────────────────────────


class Silent:
    """Implements ports.Channel."""

    def send(self, event: wire.ServerFrame) -> None: ...

    async def room(self) -> bool:
        return True


def before(*said: wire.ServerFrame) -> int | None:
    ear = Before(Silent(), "c1")
    for event in said:
        ear.send(event)
    return ear.seq


def of_another(first: int) -> list[wire.ServerFrame]:
    """A turn of somebody else's, of two events."""
    _, state, done = turn([], message_id="c2", response_id="r2")
    return [replace(state, seq=first), replace(done, seq=first + 1)]


async def test_it_is_the_sessions_last_event_when_the_answer_begins() -> None:
    begun, *_ = turn([])
    assert before(begun) == 0
    assert before(replace(created("s"), head=4), begun) == 4
    assert before(replace(created("s"), head=4), *of_another(5), begun, *of_another(7)) == 6


async def test_of_an_answer_from_the_log_it_is_what_came_before_its_turn() -> None:
    _, state, done = turn([])
    again = [replace(state, seq=3), replace(done, seq=4, replay=True)]
    amended = wire.ResponseAmended(
        session_id="s", ts=NOW_MS, seq=9, response_id="r0", message="M", truncated_at=wire.HeardPart(chars=1)
    )
    assert before(replace(created("s"), head=8), *again) == 2
    assert before(replace(created("s"), head=8), amended, *of_another(10), *again) == 2


@pytest.mark.parametrize("events", [[], of_another(5)])
async def test_before_that_nobody_knows(events: list[wire.ServerFrame]) -> None:
    assert before(replace(created("s"), head=4), *events) is None
    await asyncio.sleep(0)
