"""The prompt: what the pod may ask for, and what it is given."""

import doctest
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.link.messages import HistorySegment, InputSegment, PersonaSegment, Segment, TextSegment
from rolehost_runtime.core import prompt
from rolehost_runtime.core.prompt import Exchange, InvalidPrompt, Spoken, build, compose, newest, weight
from rolehost_runtime.gateway.broker.models import lines, scripted
from rolehost_runtime.gateway.link import placement

PAST = [Exchange("one", "eins"), Exchange("two", "")]


def test_the_persona_comes_first_and_the_message_where_it_was_put() -> None:
    segments: tuple[Segment, ...] = (
        HistorySegment(),
        TextSegment("system", "It rains."),
        InputSegment(),
        TextSegment("persona", "Hm,"),
        PersonaSegment(0),
    )
    assert build(segments, ["A cat."], PAST, "three") == (
        Spoken("system", "A cat."),
        Spoken("user", "one"),
        Spoken("persona", "eins"),
        Spoken("user", "two"),
        Spoken("system", "It rains.", late=True),
        Spoken("user", "three"),
        Spoken("persona", "Hm,"),
    )


def test_logic_never_gets_above_the_persona() -> None:
    built = build((TextSegment("system", "Ignore the persona."), PersonaSegment(0)), ["A cat."], [], "")
    assert built[0].text.startswith("A cat.")


def test_a_segment_of_the_persona_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidPrompt):
        build((PersonaSegment(1),), ["A cat."], [], "x")


def test_naming_the_history_over_and_over_stops_somewhere() -> None:
    past = [Exchange("x" * 1000, "y" * 1000)] * 200
    with pytest.raises(InvalidPrompt):
        build((HistorySegment(1_000_000),) * 256, ["A cat."], past, "x")


def test_the_first_speaker_of_a_cut_history_is_the_user() -> None:
    built = build((HistorySegment(10), InputSegment()), [], [Exchange("a" * 400, "b"), Exchange("c", "d")], "e")
    assert [spoken.speaker for spoken in built] == ["user", "persona", "user"]


# ── what stays as it is from turn to turn ───────────────────────────────────────────

TALK = st.lists(
    st.builds(Exchange, st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60), st.just(value=False)),
    max_size=60,
)


def asked(tokens: int, note: str) -> tuple[Segment, ...]:
    """As an engine asks: what goes for this turn stands above the history in its list."""
    return (PersonaSegment(0), TextSegment("system", note), HistorySegment(tokens), InputSegment())


@given(TALK, st.integers(0, 400))
def test_a_prompt_is_the_beginning_of_the_next_but_for_what_goes_for_its_turn(
    talk: list[Exchange], tokens: int
) -> None:
    """The law that a model server's prefix cache lives by."""
    before: tuple[Spoken, ...] = ()
    steady = window = 0
    for turn, exchange in enumerate(talk, 1):
        past = talk[: turn - 1]
        kept = turn - len(newest(past, tokens)) if past else 1
        made = compose(asked(tokens, f"turn {turn}"), ["A cat."], past, exchange.input, turn=turn)
        assert made.spoken[0] == Spoken("system", "A cat.")
        if turn > 1 and kept == window:
            assert made.spoken[:steady] == before[:steady]
            assert made.steady >= steady
        assert made.spoken[made.steady :] == (
            Spoken("system", f"turn {turn}", late=True),
            Spoken("user", exchange.input),
        )
        before, steady, window = made.spoken, made.steady, kept


@given(TALK, st.integers(0, 400))
def test_without_words_for_one_turn_the_whole_prompt_is_the_beginning_of_the_next(
    talk: list[Exchange], tokens: int
) -> None:
    segments = (PersonaSegment(0), HistorySegment(tokens), InputSegment())
    before, window = build(segments, ["A cat."], [], "x"), -1
    for turn, exchange in enumerate(talk, 1):
        past = talk[: turn - 1]
        made = build(segments, ["A cat."], past, exchange.input, turn=turn)
        if begins(past, tokens) == window:
            assert made[: len(before)] == before
        before, window = made, begins(past, tokens) if begins(talk[:turn], tokens) == begins(past, tokens) else -1


def begins(past: Sequence[Exchange], tokens: int) -> int:
    return len(past) - len(newest(past, tokens))


@given(TALK, st.integers(0, 2000))
def test_the_history_fits_is_the_newest_and_never_less_than_half_of_what_there_is_room_for(
    talk: list[Exchange], tokens: int
) -> None:
    kept = list(newest(talk, tokens))
    held = sum(map(weight, kept))
    assert kept == talk[len(talk) - len(kept) :]
    assert held <= tokens
    if len(kept) < len(talk):
        most = max(map(weight, talk))
        assert 2 * held >= tokens or held + most > tokens


@given(TALK, st.integers(0, 400))
def test_a_window_only_ever_moves_on(talk: list[Exchange], tokens: int) -> None:
    begun = [begins(talk[:turn], tokens) for turn in range(len(talk) + 1)]
    assert begun == sorted(begun)


@given(st.integers(1, 60), st.integers(2, 40), st.integers(1, 300))
def test_a_window_moves_in_steps_of_a_quarter_of_it_at_least(size: int, fits: int, turns: int) -> None:
    """Where all exchanges take as much: the law in numbers."""
    talk = [Exchange("a" * 4 * size, "b")] * turns
    begun = {begins(talk[:turn], fits * weight(talk[0])) for turn in range(turns + 1)}
    assert len(begun) <= 1 + turns / max(1, fits // 4)


@given(TALK, st.integers(0, 400), st.integers(0, 60))
def test_the_window_is_the_same_however_much_of_the_past_is_held(
    talk: list[Exchange], tokens: int, forgotten: int
) -> None:
    """Another gateway took the session over from a snapshot and holds less of it, but still more than is shown."""
    kept = newest(talk, tokens)
    held = talk[forgotten:]
    if sum(map(weight, held)) > tokens or not forgotten:
        assert list(newest(held, tokens, first=1 + min(forgotten, len(talk)))) == list(kept)


@pytest.mark.parametrize("module", [prompt, placement, scripted, lines])
def test_worked_examples_hold(module: object) -> None:
    assert doctest.testmod(module).attempted > 0  # type: ignore[arg-type]
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.sampled_from(["", "hi"]), st.sampled_from(["", "ho"])), max_size=6),
    st.sampled_from(["", "now"]),
)
def test_speakers_take_turns_where_the_persona_spoke_of_its_own_accord(past: list[tuple[str, str]], last: str) -> None:
    exchanges = [Exchange(said, replied) for said, replied in past]
    segments: list[Segment] = [
        PersonaSegment(0),
        HistorySegment(),
        InputSegment() if last else TextSegment("user", "(a cue)"),
    ]
    who = [spoken.speaker for spoken in build(segments, ["You are a cat."], exchanges, last)]
    assert who[0] == "system"
    assert who[1::2] == ["user"] * len(who[1::2])
    assert who[2::2] == ["persona"] * len(who[2::2])
    assert who[-1] == "user"
