"""Ids and lines of event streams, and that a client that comes back hears every word once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.edge import NOW_MS, created

from rolehost_api import wire
from rolehost_api.errors import BadRequest
from rolehost_runtime.gateway.edge.sse import Heard, Lines, Rest, heard

PIECES = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=8)


def delta(offset: int, text: str, response_id: str = "r1") -> wire.TextDelta:
    return wire.TextDelta(session_id="s", seq=None, ts=NOW_MS, response_id=response_id, offset=offset, delta=text)


def begun(response_id: str = "r1") -> wire.ResponseCreated:
    return wire.ResponseCreated(session_id="s", seq=None, ts=NOW_MS, response_id=response_id)


def ended(message: str, seq: int | None = 1, response_id: str = "r1") -> wire.ResponseDone:
    return wire.ResponseDone(
        session_id="s", seq=seq, ts=NOW_MS, response_id=response_id, message=message,
        status="failed" if seq is None else "completed",
    )  # fmt: skip


def turn(pieces: list[str], seq: int = 1, response_id: str = "r1") -> list[wire.ServerFrame]:
    """A turn as it happens."""
    offsets = [sum(map(len, pieces[:number])) for number in range(len(pieces))]
    said = [delta(offset, piece, response_id) for offset, piece in zip(offsets, pieces, strict=True)]
    return [begun(response_id), *said, ended("".join(pieces), seq, response_id)]


def ids(lines: Lines, events: list[wire.ServerFrame]) -> list[str]:
    """The last id that a client knows after each event."""
    last, found = "", []
    for event in events:
        for line in lines.said(event).decode().splitlines():
            last = line.removeprefix("id: ") if line.startswith("id: ") else last
        found.append(last)
    return found


def texts(events: list[wire.ServerFrame]) -> str:
    return "".join(event.delta for event in events if isinstance(event, wire.TextDelta))


def test_ids_say_the_log_and_the_place_in_the_open_response() -> None:
    events = [created("s"), *turn(["从前", "有", "a dragon"], seq=4)]
    assert ids(Lines(None, lambda: 0.0), events) == ["0", "0", "0.r1.2", "0.r1.3", "0.r1.11", "4"]


def test_an_id_that_says_nothing_new_is_not_sent_again() -> None:
    lines = Lines(Heard(7, "r1", 3), lambda: 0.0)
    assert b"id:" not in lines.said(created("s"))
    assert b"id:" not in lines.said(begun("r1"))
    assert lines.said(delta(3, "x")).startswith(b"id: 7.r1.4\n")


def test_a_failed_turn_takes_the_id_back_to_the_log() -> None:
    lines = Lines(None, lambda: 0.0)
    assert ids(lines, [created("s"), begun(), delta(0, "x"), ended("", None)]) == ["0", "0", "0.r1.1", "0"]


def test_a_lost_history_takes_the_id_back_to_where_it_begins() -> None:
    lost = wire.Resumed(session_id="s", seq=None, ts=NOW_MS, from_seq=1, to_seq=2, gap=True, code="resume_lost")
    assert ids(Lines(Heard(9), lambda: 0.0), [created("s"), lost]) == ["", "0"]


def test_data_is_one_line_and_the_same_as_on_a_socket() -> None:
    event = delta(0, "line\nbreak\r  ")
    (line,) = [line for line in Lines(None, lambda: 0.0).said(event).split(b"\n") if line.startswith(b"data: ")]
    assert line.removeprefix(b"data: ") == wire.encode(event)


def test_who_is_asked_to_come_again_is_told_when() -> None:
    migrate = wire.Migrate(session_id="s", seq=None, ts=NOW_MS, reconnect_after_ms=0, reason="drain")
    assert b"retry: 1100\n" in Lines(None, lambda: 0.5).said(migrate)


@given(PIECES, st.data())
def test_wherever_a_client_leaves_it_hears_every_word_once_when_it_comes_back(
    pieces: list[str], data: st.DataObject
) -> None:
    """Once while the turn still runs, and once after it is in the log."""
    whole = turn(pieces)
    left = data.draw(st.integers(1, len(whole) - 1))
    known = ids(Lines(Heard(0), lambda: 0.0), whole[:left])[-1]
    said = data.draw(st.integers(max(0, left - 1), len(pieces)))
    running = [begun(), *([delta(0, "".join(pieces[:said]))] if said else []), *whole[1 + said :]]
    for told in (running, [whole[-1]]):
        rest = Rest(heard(known) if known else Heard(0))
        again = [event for one in told for event in rest.heard(one)]
        assert texts(whole[:left]) + texts(again) == ("".join(pieces) if known or told is running else "")
        assert again[-1] == whole[-1]
        assert len([event for event in again if isinstance(event, wire.ResponseCreated)]) == (
            0 if known else told is running
        )
        assert rest.lost(whole[-1]) == []


def reset(response_id: str = "r1") -> wire.ResponseReset:
    return wire.ResponseReset(session_id="s", seq=None, ts=NOW_MS, response_id=response_id)


def shown(events: list[wire.ServerFrame]) -> str:
    """What a client shows of one response that heeds a reset and puts pieces where they belong."""
    text = ""
    for event in events:
        if isinstance(event, wire.ResponseReset):
            text = ""
        elif isinstance(event, wire.TextDelta):
            assert event.offset == len(text), "a gap, or a word twice"
            text += event.delta
    return text


@given(PIECES, PIECES, st.data())
def test_of_an_answer_that_is_given_anew_a_client_keeps_no_word_of_the_first_one(
    first: list[str], anew: list[str], data: st.DataObject
) -> None:
    """It left in the first one, or in the second one, and comes back to the second one."""
    old, new = turn(first)[:-1], [reset(), *turn(anew)]
    lived = [created("s"), *old, *new]
    left = data.draw(st.integers(1, len(lived) - 1))
    known = ids(Lines(None, lambda: 0.0), lived[:left])[-1]
    rest = Rest(heard(known))
    said = data.draw(st.integers(max(0, left - len(old) - 3), len(anew)))
    caught_up = [reset(), begun(), *([delta(0, "".join(anew[:said]))] if said else []), *new[2 + said :]]
    again = [event for one in caught_up for event in rest.heard(one)]
    assert shown([*lived[:left], *again]) == "".join(anew)
    assert again[-1] == new[-1]
    assert rest.lost(new[-1]) == []


@given(PIECES, PIECES, st.data())
def test_one_that_was_given_anew_meanwhile_is_told_whole(
    first: list[str], anew: list[str], data: st.DataObject
) -> None:
    lived = [created("s"), *turn(first)[:-1]]
    left = data.draw(st.integers(2, len(lived)))
    rest = Rest(heard(ids(Lines(None, lambda: 0.0), lived[:left])[-1]))
    end = replace(turn(anew)[-1], given_anew=True, replay=True)
    assert shown([*lived[:left], *rest.heard(end)]) in ("".join(anew), "" if left == 2 else None)


def test_a_reset_of_the_awaited_answer_is_not_the_end_of_another_one() -> None:
    rest = Rest(Heard(3, "r1", 5))
    (lost, other) = rest.heard(reset("r2"))
    assert isinstance(lost, wire.ResponseDone)
    assert (lost.response_id, other) == ("r1", reset("r2"))


def test_an_amend_in_the_middle_of_the_next_answer_keeps_the_place_in_it() -> None:
    lines = Lines(None, lambda: 0.0)
    amended = wire.ResponseAmended(
        session_id="s", seq=2, ts=NOW_MS, response_id="r1", message="x", truncated_at=wire.HeardPart(chars=1)
    )
    events = [
        *turn(["xy"], 1),
        begun("r2"),
        delta(0, "从前", "r2"),
        amended,
        delta(2, "x", "r2"),
        ended("从前x", 3, "r2"),
    ]
    assert ids(lines, events) == ["", "0.r1.2", "1", "1", "1.r2.2", "2.r2.2", "2.r2.3", "3"]
    assert ids(Lines(Heard(1), lambda: 0.0), [amended]) == ["2"]


def test_an_answer_that_nobody_goes_on_with_is_said_to_be_lost_before_the_next_one() -> None:
    rest = Rest(Heard(3, "r1", 5))
    told = [event for one in turn(["x"], 4, "r2") for event in rest.heard(one)]
    assert [(type(event).__name__, event.response_id) for event in told] == [  # type: ignore[union-attr]
        ("ResponseDone", "r1"), ("ResponseCreated", "r2"), ("TextDelta", "r2"), ("ResponseDone", "r2"),
    ]  # fmt: skip
    assert isinstance(told[0], wire.ResponseDone)
    assert told[0].error is not None
    assert (told[0].status, told[0].seq, told[0].error.code) == ("failed", None, "response_lost")


def test_an_answer_that_is_not_known_any_more_is_lost() -> None:
    rest = Rest(Heard(3, "r1", 5))
    assert [json.loads(wire.encode(event))["status"] for event in rest.lost(created("s"))] == ["failed"]
    assert rest.lost(created("s")) == []


@pytest.mark.parametrize(
    "raw", ["", "x", "-1", "1.r", "1.r1.", "1.r1.x", "1..2", "1.r 1.2", "٣", "9" * 16, "1\n", "1.r1.2.3"]
)
def test_an_id_that_is_none_of_ours_is_refused(raw: str) -> None:
    if raw == "1\n":
        assert heard(raw) == Heard(1)
        return
    with pytest.raises(BadRequest, match="none of ours"):
        heard(raw)


@given(st.integers(0, 10**15 - 1), st.from_regex(r"[A-Za-z0-9_-]{0,64}", fullmatch=True), st.integers(0, 10**15 - 1))
def test_an_id_is_read_as_it_was_written(seq: int, response_id: str, offset: int) -> None:
    at = Heard(seq, response_id, offset if response_id else 0)
    assert heard(str(at)) == at
