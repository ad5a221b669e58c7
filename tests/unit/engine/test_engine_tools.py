"""Tools in the engine: what a model's calls run, what it is told of those that come to nothing, and what they cost."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost import Role, State, Turn
from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.messages import (
    CallModel,
    CallTool,
    Commit,
    Degraded,
    ModelResult,
    PatchOp,
    Question,
    QuestionAnswer,
    Recall,
    Recalled,
    Say,
    StartTurn,
    ToolResult,
)
from rolehost_api.link.tools import ToolCall
from rolehost_runtime.core.calling import MAX_TOOL_CALLS
from rolehost_runtime.core.engine import MAX_ROUNDS, Out, TurnEngine
from rolehost_runtime.core.journal import Entry, Stop, entry

START = StartTurn(
    session="s1", session_id="abc", turn=1, version=0, message="hi", user="u-17", now_ms=1000, rng_seed=7, deadline_ms=9
)
GRANTED = ("model.call", "memory.read", "memory.write", "tool:*")


class Sky(State):
    looks: int = 0


def astronomer() -> Role[Sky]:
    sky = Role("sky", state=Sky)

    @sky.tool
    async def stars(t: Turn[Sky], city: str, count: int = 1) -> list[str]:
        """Stars over a city."""
        t.state.looks += 1
        return [f"{city} {number}" for number in range(count)]

    @sky.tool
    async def broken(t: Turn[Sky]) -> str:
        """It fails."""
        t.state.looks = 99
        t.memory.remember("never")
        raise RuntimeError("the secret of the logic")

    @sky.tool
    async def asks(t: Turn[Sky]) -> str:
        """It asks the model, and memory."""
        await t.memory.recall("dragons")
        return await t.ask("How many?")

    return sky


def calls(index: int, *wanted: tuple[str, str], text: str = "") -> ModelResult:
    found = tuple(ToolCall(id=f"c{place}", name=name, arguments=said) for place, (name, said) in enumerate(wanted))
    return ModelResult(index=index, text=text, calls=found)


Model = Callable[[CallModel], ModelResult]


def play(
    engine: TurnEngine, model: Model, tool: Callable[[CallTool], ToolResult] | None = None
) -> tuple[list[Out], list[QuestionAnswer]]:
    seen, answers = engine.begin(), list[QuestionAnswer]()
    out: Sequence[Out] = seen
    while not engine.done:
        answer: QuestionAnswer
        match asked := out[-1]:
            case CallModel():
                answer = model(asked)
            case Recall():
                answer = Recalled(index=asked.index)
            case CallTool() if tool is not None:
                answer = tool(asked)
            case _:
                raise AssertionError(asked)
        answers.append(answer)
        out = engine.resume(answer)
        seen = [*seen, *out]
    return seen, answers


def scripted(*lines: Sequence[tuple[str, str]] | str) -> Model:
    left = list(lines)

    def answer(asked: CallModel) -> ModelResult:
        line = left.pop(0)
        return (
            ModelResult(index=asked.index, text=line)
            if isinstance(line, str)
            else calls(asked.index, *line, text="I look.")
        )

    return answer


def asked(out: Sequence[Out]) -> list[CallModel]:
    return [one for one in out if isinstance(one, CallModel)]


def end(out: Sequence[Out]) -> Commit:
    assert isinstance(out[-1], Commit)
    return out[-1]


def test_a_model_calls_a_tool_and_its_words_make_one_reply() -> None:
    sky, replied = astronomer(), []

    @sky.on_reply
    def after(t: Turn[Sky]) -> None:
        replied.append(t.replied)

    engine = TurnEngine(sky, START, {}, permissions=GRANTED)
    out, _ = play(engine, scripted([("stars", '{"city": "Oslo", "count": "2"}')], "\n\nTwo."))
    first, second = asked(out)
    assert (first.tools, first.continues) == (("*",), None)
    assert (second.segments, second.continues, second.tools) == ((), 0, ("*",))
    assert [(one.id, one.text, one.error) for one in second.results] == [("c0", '["Oslo 0","Oslo 1"]', "")]
    assert replied == ["I look.\n\nTwo."]
    assert end(out).patch == (PatchOp("incr", "/looks", 1),)
    assert not end(out).degraded


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        (("stars", "{"), "invalid_arguments", "not JSON of an object"),
        (("stars", '["Oslo"]'), "invalid_arguments", "not JSON of an object"),
        (("stars", "{}"), "invalid_arguments", "missing required field `city`"),
        (("stars", '{"city": 7}'), "invalid_arguments", "$.city"),
        (("stars", '{"city": "Oslo", "moon": 1}'), "invalid_arguments", "unknown field"),
        (("broken", "{}"), "tool_failed", "The tool failed."),
    ],
)
def test_a_call_that_comes_to_nothing_is_told_to_the_model_and_changes_nothing(
    wanted: tuple[str, str], error: str, told: str
) -> None:
    out, _ = play(TurnEngine(astronomer(), START, {}, permissions=GRANTED), scripted([wanted], "Sorry."))
    (outcome,) = asked(out)[1].results
    assert outcome.error == error
    assert told in outcome.text
    assert "secret" not in outcome.text
    assert end(out).patch == ()
    assert end(out).atoms == ()


def test_a_tool_that_fails_is_in_degraded_and_the_hook_keeps_what_it_did_before() -> None:
    sky = astronomer()

    @sky.on_message
    async def answer(t: Turn[Sky]) -> None:
        held = t.state
        held.looks = 5
        await t.reply(t.ask())
        held.looks += 1

    out, _ = play(TurnEngine(sky, START, {}, permissions=GRANTED), scripted([("broken", "")], "Sorry."))
    assert end(out).degraded == (Degraded("tool:broken", "tool_failed"),)
    assert end(out).patch == (PatchOp("incr", "/looks", 6),)


def test_only_what_is_granted_is_run() -> None:
    out, _ = play(
        TurnEngine(astronomer(), START, {}, permissions=("model.call", "tool:asks")),
        scripted([("stars", '{"city": "Oslo"}')], "Sorry."),
    )
    assert [one.error for one in asked(out)[1].results] == ["permission_denied"]
    assert end(out).patch == ()


def test_without_a_grant_no_tool_is_offered() -> None:
    (first, _), _ = play(TurnEngine(astronomer(), START, {}, permissions=("model.call",)), scripted("Hi."))
    assert isinstance(first, CallModel)
    assert first.tools == ()


def test_a_question_may_have_none_or_some() -> None:
    sky = astronomer()

    @sky.on_message
    async def answer(t: Turn[Sky]) -> None:
        await t.ask("Which?", tools=False)
        await t.reply(t.ask(tools=["stars"]))

    out, _ = play(TurnEngine(sky, START, {}, permissions=GRANTED), scripted("a", "b"))
    assert [one.tools for one in asked(out)] == [(), ("stars",)]


def test_what_the_gateway_refused_is_told_and_not_run() -> None:
    refused = ToolCall(id="c0", name="stars", arguments='{"city": "Oslo"}', error="arguments_too_large")
    answers = iter([ModelResult(index=0, calls=(refused,)), ModelResult(index=1, text="Sorry.")])
    out, _ = play(TurnEngine(astronomer(), START, {}, permissions=GRANTED), lambda asked: next(answers))
    assert [one.error for one in asked(out)[1].results] == ["arguments_too_large"]
    assert end(out).patch == ()


def test_a_tool_may_ask_and_its_questions_have_no_tools() -> None:
    out, _ = play(
        TurnEngine(astronomer(), START, {}, permissions=GRANTED), scripted([("asks", "")], "Nine", "Nine it is.")
    )
    first, within, last = asked(out)
    assert (within.tools, within.stream, within.continues) == ((), False, None)
    assert last.results[0].text == "Nine"
    assert last.continues == first.index


def test_a_tool_of_another_server_is_an_effect() -> None:
    out, _ = play(
        TurnEngine(astronomer(), START, {}, permissions=GRANTED),
        scripted([("maps__route", '{"to": "Oslo"}'), ("maps__walk", "{}")], "Left."),
        lambda asked: ToolResult(
            index=asked.index, text="left", error="" if asked.name == "maps__route" else "tool_late"
        ),
    )
    called = [one for one in out if isinstance(one, CallTool)]
    assert [(one.index, one.name, one.arguments) for one in called] == [
        (1, "maps__route", '{"to": "Oslo"}'),
        (2, "maps__walk", "{}"),
    ]
    assert [one.error for one in asked(out)[1].results] == ["", "tool_late"]


def test_endless_rounds_end() -> None:
    """After eight the model is asked for words; whatever it says then is the answer."""
    out, _ = play(
        TurnEngine(astronomer(), START, {}, permissions=GRANTED),
        lambda asked: (
            calls(asked.index, ("stars", '{"city": "O"}')) if asked.tools else ModelResult(index=asked.index, text=".")
        ),
    )
    assert [bool(one.tools) for one in asked(out)] == [True] * MAX_ROUNDS + [False]
    assert end(out).patch == (PatchOp("incr", "/looks", MAX_ROUNDS),)


def test_the_calls_of_a_turn_are_bounded() -> None:
    many = [("stars", '{"city": "O"}')] * 16
    out, _ = play(TurnEngine(astronomer(), START, {}, permissions=GRANTED), scripted(*[many] * 5, "Enough."))
    assert end(out).patch == (PatchOp("incr", "/looks", MAX_TOOL_CALLS),)
    assert [one.error for one in asked(out)[-1].results] == ["too_many_tool_calls"] * 16
    assert Degraded("tool", "too_many_tool_calls") in end(out).degraded


def test_a_tool_at_its_deadline_is_not_called_again_in_the_turn() -> None:
    """Its worker was ended in it: the turn runs again, and comes to it again."""
    twice = [("stars", '{"city": "O"}'), ("stars", '{"city": "O"}'), ("asks", "")]
    first = TurnEngine(astronomer(), START, {}, permissions=GRANTED)
    (question,) = first.begin()
    assert isinstance(question, CallModel)
    journal = [Entry(entry(question).kind, entry(question).mark, calls(0, *twice))]
    again = TurnEngine(
        astronomer(), START, {}, permissions=GRANTED, journal=journal, stops=[Stop(0, 1, "hook_deadline")]
    )
    out, _ = play(again, scripted("Nine", "Nine."))
    assert [one.error for one in asked(out)[-1].results] == ["tool_late", "tool_late", ""]
    assert {one.code for one in end(out).degraded} == {"tool_late"}
    assert end(out).patch == ()


def test_interrupted_between_rounds_nothing_goes_on() -> None:
    sky, heard = astronomer(), []

    @sky.on_interrupt
    def cut(t: Turn[Sky]) -> None:
        heard.append(t.replied)

    answers = iter(
        [
            calls(0, ("stars", '{"city": "O"}'), text="I look."),
            ModelResult(index=1, text=" Two.", error="interrupted", heard=9),
        ]
    )
    out, _ = play(TurnEngine(sky, START, {}, permissions=GRANTED), lambda asked: next(answers))
    assert heard == ["I look. T"]
    assert end(out).patch == (PatchOp("incr", "/looks", 1),)


def test_an_answer_of_another_kind_ends_the_turn() -> None:
    engine = TurnEngine(astronomer(), START, {}, permissions=GRANTED)
    engine.begin()
    engine.resume(calls(0, ("maps__route", "{}")))
    with pytest.raises(ProtocolViolation):
        engine.resume(ModelResult(index=1, text="no"))


NAMES = st.sampled_from(["stars", "broken", "asks", "maps__route", "no_such"])
SAID = st.sampled_from(["", "{}", '{"city": "Oslo"}', '{"city": "Oslo", "count": 3}', "{", "[]", '{"city": 1}'])
LINES = st.lists(st.one_of(st.just(""), st.lists(st.tuples(NAMES, SAID), min_size=1, max_size=4)), max_size=6)


@given(LINES, st.data())
def test_whatever_a_model_calls_a_turn_by_its_journal_is_the_same(lines: list[Any], data: st.DataObject) -> None:
    """Cut anywhere, the rest of the turn is what it was: the same effects, the same commit."""

    def model(asked: CallModel) -> ModelResult:
        line = lines[asked.index % len(lines)] if lines and asked.tools else ""
        return calls(asked.index, *line, text="…") if line else ModelResult(index=asked.index, text=f"<{asked.index}>")

    def tool(asked: CallTool) -> ToolResult:
        return ToolResult(index=asked.index, text=asked.arguments)

    def engine(journal: Sequence[Entry] = ()) -> TurnEngine:
        return TurnEngine(astronomer(), START, {}, permissions=GRANTED, journal=journal)

    out, answers = play(engine(), model, tool)
    by_index = {one.index: one for one in answers}
    effects = [one for one in out if isinstance(one, Say | Question)]
    entries = [Entry(entry(one).kind, entry(one).mark, by_index.get(one.index)) for one in effects]
    kept = data.draw(st.integers(0, len(entries)))
    again, _ = play(engine(entries[:kept]), model, tool)
    assert [one for one in again if isinstance(one, Say | Question)] == effects[kept:]
    assert again[-1] == out[-1]
