"""What `say` returns: the whole for who awaits it, the pieces for who iterates, and the truth for both."""

import asyncio
from typing import Any

import pytest

from rolehost.client import Delta, NotAnswered, Pending, Refused, TurnFailed, connect
from rolehost_api.errors import BadRequest


def pending() -> Pending:
    return Pending("m1", lambda *_: None)


def delta(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text}


def done(message: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.done", "status": "completed", "message": message, "response_id": "r1", "seq": 2, **more}


RESET = {"type": "response.reset", "response_id": "r1"}


async def pieces(one: Pending) -> list[Delta]:
    return [piece async for piece in one]


async def test_the_whole_has_its_receipt() -> None:
    one = pending()
    one.feed(delta("Once"))
    usage = {"input_tokens": 7, "output_tokens": 2, "of_tomorrow": 1}
    one.feed(done("Once upon", usage=usage, metrics={"ttft_ms": 310.0}, revision="cat-1", trace_id="4bf9"))
    reply = await one
    assert reply.trace_id == "4bf9"
    assert (reply.text, reply.status, reply.seq, reply.revision) == ("Once upon", "completed", 2, "cat-1")
    assert (reply.usage.input_tokens, reply.metrics.ttft_ms) == (7, 310.0)
    assert await one is reply, "it may be awaited again"


async def test_pieces_come_as_they_are_said_and_make_the_whole() -> None:
    one = pending()
    heard: list[Delta] = []

    async def listen() -> None:
        async for piece in one:
            heard.append(piece)

    listening = asyncio.create_task(listen())
    for text in ("从前", "，", "有"):
        one.feed(delta(text))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    one.feed(done("从前，有一条龙"))
    await listening
    assert [(str(piece), piece.offset, piece.reset) for piece in heard] == [
        ("从前", 0, False),
        ("，", 2, False),
        ("有", 3, False),
        ("一条龙", 4, False),
    ]


async def test_who_comes_late_hears_everything_at_once() -> None:
    one = pending()
    one.feed(delta("Once"))
    one.feed(delta(" upon"))
    one.feed(done("Once upon"))
    assert await pieces(one) == ["Once upon"]
    assert await pieces(one) == ["Once upon"]


async def test_an_answer_that_is_begun_anew_says_that_the_old_piece_is_void() -> None:
    one = pending()
    one.feed(delta("Once"))
    told = aiter(one)
    assert await anext(told) == "Once"
    one.feed(RESET)
    one.feed(delta("Twi"))
    anew = await anext(told)
    assert (anew, anew.offset, anew.reset) == ("Twi", 0, True)
    one.feed(delta("ce"))
    assert [(piece, piece.reset) async for piece in _to_the_end(one, told, done("Twice"))] == [("ce", False)]
    assert (await one).text == "Twice"


async def _to_the_end(one: Pending, told: Any, end: dict[str, Any]) -> Any:
    one.feed(end)
    async for piece in told:
        yield piece


async def test_an_end_that_is_another_text_replaces_what_was_shown() -> None:
    one = pending()
    one.feed(delta("Once"))
    told = aiter(one)
    assert await anext(told) == "Once"
    one.feed(done("Twice"))
    anew = await anext(told)
    assert (anew, anew.reset) == ("Twice", True)


async def test_what_was_shown_and_is_no_more_is_taken_back_even_without_a_new_word() -> None:
    one = pending()
    one.feed(delta("Once"))
    told = aiter(one)
    assert await anext(told) == "Once"
    one.feed(RESET)
    anew = await anext(told)
    assert (anew, anew.reset) == ("", True)


async def test_of_a_cancelled_answer_the_part_that_was_heard_is_left() -> None:
    one = pending()
    one.feed(delta("Once upon a time"))
    one.feed(done("Once", status="cancelled"))
    reply = await one
    assert (reply.text, reply.status) == ("Once", "cancelled")


@pytest.mark.parametrize(
    ("code", "retryable", "by_turn", "kind"),
    [
        ("user_not_allowed", False, False, Refused),
        ("logic_error", False, True, TurnFailed),
        ("model_timeout", True, True, NotAnswered),
    ],
)
async def test_a_failure_is_raised_with_its_code_and_hint(
    code: str, retryable: bool, by_turn: bool, kind: type[Exception]
) -> None:
    one = pending()
    error = {"code": code, "message": "it failed", "hint": "Do this", "retryable": retryable}
    for tried in ("4bf8", "4bf9") if by_turn else ():
        end = {"type": "response.done", "status": "failed", "message": "", "seq": None, "trace_id": tried}
        one.feed({**end, "error": error})
    one.feed({"type": "client.failed", "client_msg_id": "m1", "error": error})
    with pytest.raises(kind) as raised:
        await one
    assert (raised.value.code, raised.value.hint) == (code, "Do this")  # type: ignore[attr-defined]
    assert raised.value.trace_id == ("4bf9" if by_turn else ""), "of the last try"  # type: ignore[attr-defined]
    with pytest.raises(kind):
        await pieces(one)


async def test_an_end_that_cannot_be_read_is_said() -> None:
    one = pending()
    one.feed(done("Once", usage=7))
    with pytest.raises(TurnFailed, match="cannot be read"):
        await one


@pytest.mark.parametrize("url", ["roles.example.com", "ftp://x", "http://", "http://user:key@x", "http://x?key=1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="a gateway's url"):
        connect(url, "cat")


def test_a_key_and_a_token_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="not both"):
        connect("http://x", "cat", key="k", token="t")
    with pytest.raises(BadRequest):
        connect("http://x", "cat", session_id="")
