"""A turn's events as chunks: its own only, every word once, and an end that their SDK understands."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.edge import NOW_MS, created

from rolehost_api import wire
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.gateway.edge.openai.replies import Chunks, completion

BASE: dict[str, Any] = {"session_id": "s", "ts": NOW_MS}
PIECES = st.lists(st.text(min_size=1, max_size=5), max_size=6)


def turn(pieces: list[str], message_id: str = "c1", response_id: str = "r1") -> list[wire.ServerFrame]:
    deltas = [
        wire.TextDelta(**BASE, seq=None, response_id=response_id, offset=sum(map(len, pieces[:number])), delta=piece)
        for number, piece in enumerate(pieces)
    ]
    return [
        wire.ResponseCreated(**BASE, seq=None, response_id=response_id, client_msg_id=message_id),
        *deltas,
        wire.StateDelta(**BASE, seq=1, version=1, is_urgent=False, patch=(PatchOp("incr", "/turns", 1),)),
        wire.ResponseDone(
            **BASE, seq=2, response_id=response_id, status="completed", message="".join(pieces),
            client_msg_id=message_id, finish_reason="length", revision="cat-1",
            usage=wire.Usage(input_tokens=10, cached_tokens=8, output_tokens=5),
        ),
    ]  # fmt: skip


def failed(message_id: str = "c1") -> wire.ResponseDone:
    error = wire.ErrorBody(code="model_unavailable", message="away", retryable=True)
    return wire.ResponseDone(
        **BASE, seq=None, response_id="r1", status="failed", message="", client_msg_id=message_id, error=error
    )


def chunks(*, include_usage: bool = False) -> Chunks:
    return Chunks("cat", "s", "c1", include_usage=include_usage)


def told(tongue: Chunks, events: list[wire.ServerFrame]) -> list[Any]:
    raw = b"".join(tongue.said(event) for event in events) + tongue.ended()
    blocks = [block.removeprefix(b"data: ") for block in raw.split(b"\n\n") if block]
    return [block.decode() if block == b"[DONE]" else json.loads(block) for block in blocks]


def content(chunks: list[Any]) -> str:
    choices = [choice for chunk in chunks if isinstance(chunk, dict) for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_a_turn_is_chunks_to_the_word_done() -> None:
    first, one, two, state, last, done = told(chunks(), [created("s"), *turn(["Me", "ow"])])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["role"]["type"] == "response.created"
    assert [chunk["choices"][0]["delta"] for chunk in (one, two, state, last)] == [
        {"content": "Me"},
        {"content": "ow"},
        {},
        {},
    ]
    assert (state["role"]["type"], state["role"]["seq"]) == ("role.state.delta", 1)
    assert (last["choices"][0]["finish_reason"], last["role"]["message"]) == ("length", "Meow")
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in (first, one, two, state, last)} == {"chatcmpl-r1.s"}
    assert (first["object"], first["model"], first["created"]) == ("chat.completion.chunk", "cat", NOW_MS // 1000)
    assert all("usage" not in chunk for chunk in (first, one, last))
    assert first["system_fingerprint"] == "storyteller@r3"


def test_usage_comes_last_where_it_is_asked_for() -> None:
    *rest, usage, done = told(chunks(include_usage=True), turn(["Meow"]))
    assert (usage["choices"], done) == ([], "[DONE]")
    assert usage["usage"] == {
        "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 8},
    }  # fmt: skip
    assert all(chunk["usage"] is None for chunk in rest)


@given(PIECES, PIECES, st.booleans())
def test_of_another_clients_turn_not_a_word_is_told(mine: list[str], others: list[str], first: bool) -> None:
    other = turn(others, "c2", "r2")
    events = [*other, *turn(mine)] if first else [*turn(mine), *other]
    assert content(told(chunks(), events)) == "".join(mine)


@given(PIECES, st.integers(0, 6))
def test_every_word_comes_once_also_of_an_answer_from_the_log(pieces: list[str], heard: int) -> None:
    begun, *deltas, _, done = turn(pieces)
    assert content(told(chunks(), [begun, *deltas[:heard], done])) == "".join(pieces)
    assert content(told(chunks(), [done])) == "".join(pieces)


def test_what_fails_before_the_first_word_is_left_to_the_status() -> None:
    tongue = chunks()
    assert (told(tongue, [*turn([])[:1], failed()]), tongue.head.began) == ([], False)


def test_what_fails_once_there_is_no_status_any_more_is_told_once_and_is_not_done() -> None:
    begun, delta, *_ = turn(["Me"])
    error = wire.Error(**BASE, seq=None, error=wire.ErrorBody(code="model_unavailable", message="away"))
    late = chunks()
    late.head.open = True
    for tongue, events in ((chunks(), [begun, delta, failed(), error]), (late, [begun, error, failed()])):
        said = [chunk for chunk in told(tongue, events) if chunk == "[DONE]" or "error" in chunk]
        assert [chunk["error"]["code"] for chunk in said] == ["model_unavailable"]


@given(PIECES, PIECES, st.integers(0, 6))
def test_an_answer_that_is_given_anew_ends_with_an_error_once_text_of_it_went_out(
    first: list[str], anew: list[str], heard: int
) -> None:
    begun, *deltas, _, _ = turn(first)
    reset = wire.ResponseReset(**BASE, seq=None, response_id="r1")
    said = told(chunks(), [begun, *deltas[:heard], reset, *turn(anew)])
    if not deltas[:heard]:
        assert content(said) == "".join(anew)
        assert said[-1] == "[DONE]"
        return
    *before, last = said
    assert (last["error"]["code"], last["error"]["type"]) == ("response_reset", "server_error")
    assert content(before) == "".join(first[:heard])


def test_of_another_answer_that_is_given_anew_nothing_is_told() -> None:
    begun, delta, *_, done = turn(["Me", "ow"])
    reset = wire.ResponseReset(**BASE, seq=None, response_id="r9")
    assert content(told(chunks(), [begun, delta, reset, done])) == "Meow"


def test_what_was_heard_of_an_earlier_answer_is_not_their_clients_business() -> None:
    amended = wire.ResponseAmended(**BASE, seq=1, response_id="r0", message="M", truncated_at=wire.HeardPart(chars=1))
    begun, *rest = turn(["Meow"])
    assert told(chunks(), [begun, amended, *rest]) == told(chunks(), [begun, *rest])


def test_a_whole_answer_says_the_same() -> None:
    done = turn(["Me", "ow"])[-1]
    assert isinstance(done, wire.ResponseDone)
    whole = json.loads(wire.encode(completion("cat", None, done)))
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Meow", "refusal": None},
            "finish_reason": "length",
            "logprobs": None,
        }
    ]
    assert (whole["id"], whole["object"], whole["system_fingerprint"]) == ("chatcmpl-r1", "chat.completion", "cat-1")
    assert whole["role"] == json.loads(wire.encode(replace(done)))
