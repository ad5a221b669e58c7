"""The prompt: what the pod may ask for, and what it is given."""

import doctest

import pytest

from rolehost_api.link.messages import HistorySegment, InputSegment, PersonaSegment, Segment, TextSegment
from rolehost_runtime.core import prompt
from rolehost_runtime.core.prompt import Exchange, InvalidPrompt, Spoken, build
from rolehost_runtime.gateway.broker.models import openai, scripted, sse
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
        Spoken("system", "A cat.\n\nIt rains."),
        Spoken("user", "one"),
        Spoken("persona", "eins"),
        Spoken("user", "two\n\nthree"),
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


@pytest.mark.parametrize("module", [prompt, placement, openai, scripted, sse])
def test_worked_examples_hold(module: object) -> None:
    assert doctest.testmod(module).attempted > 0  # type: ignore[arg-type]
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
