"""What is kept of the newest turns for whoever looks underneath: bounded, soon gone, and what was forgotten is not in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import Clock

from rolehost_api.link.messages import (
    HistorySegment,
    InputSegment,
    PersonaSegment,
    Recall,
    Recalled,
    Recollection,
    Segment,
    TextSegment,
)
from rolehost_runtime.core.memory.atoms import Atom
from rolehost_runtime.core.memory.partition import Held, Partition
from rolehost_runtime.core.parts import Part, apart, known
from rolehost_runtime.core.prefix import length, shared
from rolehost_runtime.core.prompt import Exchange, build
from rolehost_runtime.gateway.sessions.inspecting import (
    MAX_AGE_MS,
    MAX_CALLS,
    MAX_TURN_BYTES,
    MAX_TURNS,
    Inspections,
    TurnSeen,
)
from rolehost_runtime.gateway.sessions.looking import shown

PERSONA = Part("persona", "system", "You are a cat.")


def said(text: str, message: int = 1) -> Part:
    return Part("input", "user", text, message)


def asked(seen: TurnSeen, *parts: Part) -> None:
    seen.asked(parts, reply=True, model="default/m")


def begun(ring: Inspections, key: str, turn: int) -> TurnSeen:
    seen = ring.begin(key, turn)
    assert seen is not None
    return seen


segments = st.lists(
    st.sampled_from(
        [
            PersonaSegment(0),
            PersonaSegment(1),
            TextSegment("system", "It rains."),
            TextSegment("user", "[notes]"),
            HistorySegment(10),
            InputSegment(),
        ]
    ),
    max_size=6,
)


@given(
    segments, st.lists(st.builds(Exchange, st.text(max_size=9), st.text(max_size=9)), max_size=3), st.text(max_size=9)
)
def test_the_parts_that_are_shown_are_the_prompt_that_is_sent(
    asks: list[Segment], past: list[Exchange], message: str
) -> None:
    personas = ["You are", "a cat."]
    sent = build(asks, personas, past, message, "Once", [(2, "no!")])
    said = [(spoken.speaker, spoken.text) for spoken in sent]
    parts = apart(said, known(asks, personas, past, message, ["no!"], "[notes]"))
    assert length(parts) == sum(len(text) for _, text in said)
    for number, (speaker, text) in enumerate(said):
        mine = [part for part in parts if part.message == number]
        assert ({part.speaker for part in mine}, "\n\n".join(part.text for part in mine)) == ({speaker}, text)
    for text, kind in (("You are", "persona"), ("It rains.", "logic"), ("no!", "steer")):
        assert {part.kind for part in parts if part.text == text} <= {kind, "input"}
    if TextSegment("user", "[notes]") in asks and "\n" not in message + "".join(one.input + one.reply for one in past):
        assert any(part.kind == "memory" for part in parts)


@given(st.lists(st.text(max_size=5), max_size=5), st.lists(st.text(max_size=5), max_size=5))
def test_what_two_prompts_share_is_what_their_texts_share(one: list[str], other: list[str]) -> None:
    """All of one speaker, so that the prompt is one text."""
    before, now = [said(text) for text in one], [said(text) for text in other]
    at = shared(before, now)
    text = "\n\n".join(part.text for part in now)
    assert "\n\n".join(part.text for part in before).startswith(text[: at.chars])
    if at.segment < len(now):
        head = "\n\n".join([*(part.text for part in now[: at.segment]), now[at.segment].text[: at.offset]])
        assert head.startswith(text[: at.chars])
        assert len(head) - at.chars in (0, 2)
    else:
        assert at.chars == len(text)


def test_the_newest_turns_of_a_session_are_kept_and_a_second_try_takes_the_place_of_the_first() -> None:
    ring = Inspections(1 << 20, Clock())
    for turn in range(1, MAX_TURNS + 3):
        begun(ring, "a", turn)
    asked(begun(ring, "a", MAX_TURNS + 2), PERSONA)
    kept = ring.turns("a")
    assert [one.turn for one in kept] == list(range(3, MAX_TURNS + 3))
    assert len(kept[-1].calls) == 1


def test_nothing_is_kept_where_it_is_off() -> None:
    ring = Inspections(0, Clock())
    assert not ring.on
    assert ring.begin("a", 1) is None
    assert ring.turns("a") == []


def test_it_is_bounded_in_bytes_calls_and_time() -> None:
    clock = Clock()
    ring = Inspections(3 << 20, clock)
    for number in range(8):
        asked(begun(ring, f"s{number}", 1), said("x" * 900_000))
        assert ring.weight < (4 << 20)
    assert [bool(ring.turns(f"s{number}")) for number in range(8)] == [False] * 5 + [True] * 3
    seen = begun(ring, "big", 1)
    asked(seen, said("x" * (MAX_TURN_BYTES - 100_000)))
    asked(seen, said("y" * 200_000))
    for _ in range(MAX_CALLS):
        asked(seen, said("z"))
    assert len(seen.calls) == MAX_CALLS
    assert [(call.cut, call.chars, len(call.parts)) for call in seen.calls[1:3]] == [(True, 200_000, 0), (False, 1, 1)]
    clock.now_ms += MAX_AGE_MS + 1
    assert ring.turns("big") == []
    assert ring.weight == 0


def test_a_forgotten_session_is_gone() -> None:
    ring = Inspections(1 << 20, Clock())
    begun(ring, "a", 1)
    begun(ring, "b", 1)
    ring.forget("a")
    assert (ring.turns("a"), len(ring.turns("b"))) == ([], 1)


def test_each_call_says_how_far_it_was_like_the_one_before() -> None:
    first, second = TurnSeen(1, 0), TurnSeen(2, 0)
    asked(first, PERSONA, said("Hi"))
    asked(second, PERSONA, Part("history", "user", "Hi", 1), Part("history", "persona", "Meow", 2), said("?", 3))
    asked(second, PERSONA, said("Hint"))
    [alone] = shown(first, [], Partition.of({})).calls
    assert (alone.prefix.chars, alone.prefix.ended_by, alone.prefix.compared_with) == (14, "input", "revision")
    one, other = shown(second, [first], Partition.of({})).calls
    assert (one.prefix.segment, one.prefix.chars, one.prefix.ended_by) == (2, 16, "history")
    assert (other.prefix.segment, other.prefix.offset, other.prefix.compared_with) == (1, 2, "call")


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_reminder_of_what_was_forgotten_since_is_not_shown(*, forgotten: bool) -> None:
    held = {"a1": Held(Atom(id="a1", text="fears spiders", at_ms=0), False, None)}
    seen = TurnSeen(1, 0)
    seen.reminded(["a1"])
    seen.reminded(["a1"])  # with every call of the turn, told once
    seen.recalled(
        Recall(index=0, query="fears"), Recalled(index=0, atoms=(Recollection(id="a1", text="fears spiders"),))
    )
    asked(seen, PERSONA, Part("memory", "user", "- fears spiders", 1), said("Hi"))
    partition = Partition.of({})
    if not forgotten:
        object.__setattr__(partition, "held", held)
    below = shown(seen, [], partition)
    assert [(one.reminder, len(one.memories), one.forgotten) for one in below.recalls] == [
        (True, not forgotten, forgotten),
        (False, not forgotten, forgotten),
    ]
    assert ("spiders" in repr(below)) is not forgotten
