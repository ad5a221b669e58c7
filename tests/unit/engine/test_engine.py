"""The engine: what a turn asks for, what it commits, and what a broken hook costs it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost import ModelFailed, Role, State, Turn
from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.messages import (
    CallModel,
    Commit,
    Degraded,
    HistorySegment,
    InputSegment,
    ModelResult,
    PatchOp,
    PersonaSegment,
    Say,
    StartTurn,
    TextSegment,
    TurnFailed,
)
from rolehost_runtime.core.engine import Out, Reporter, TurnEngine
from rolehost_runtime.core.journal import Entry, Stop, entry

START = StartTurn(
    session="s1", session_id="abc", turn=1, version=0, message="hi", user="u-17", now_ms=1000, rng_seed=7, deadline_ms=9
)


class Tale(State):
    dragons: int = 0
    names: list[str] = []
    notes: dict[str, Any] = {}


def role() -> Role[Tale]:
    return Role("cat", state=Tale)


def play(engine: TurnEngine, answers: Callable[[CallModel], ModelResult] | None = None) -> list[Out]:
    """Run a turn to its end, answering every question."""
    answer = answers or (lambda asked: ModelResult(index=asked.index, text=f"<{asked.index}>"))
    seen = out = engine.begin()
    while not engine.done:
        assert isinstance(out[-1], CallModel)
        out = engine.resume(answer(out[-1]))
        seen = seen + out
    return seen


def test_a_role_without_hooks_lets_the_model_answer() -> None:
    ask, commit = play(TurnEngine(Role("cat"), START, {}, personas=1))
    assert ask == CallModel(index=0, segments=(PersonaSegment(0), HistorySegment(), InputSegment()), stream=True)
    assert commit == Commit()


def test_what_a_turn_says_asks_and_changes() -> None:
    cat = role()

    @cat.on_start
    def begin(t: Turn[Tale]) -> None:
        t.state.names.append(f"{t.session.id}/{t.session.turn}/{t.user}")

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        t.prompt.add("Be brief.")
        mood = await t.ask("Which mood?", max_tokens=5)
        await t.say(f"{mood}! ")
        await t.reply(t.ask())

    @cat.on_reply
    def after(t: Turn[Tale]) -> None:
        t.state.notes = {"said": t.replied, "at": t.now.isoformat(), "dice": t.rng.randint(1, 6)}

    out = play(TurnEngine(cat, START, {"dragons": 41, "newer": True}, personas=1))
    base = (PersonaSegment(0), TextSegment("system", "Be brief."), HistorySegment())
    assert out == [
        CallModel(index=0, segments=(*base, TextSegment("user", "Which mood?")), stream=False, max_tokens=5),
        Say(index=1, text="<0>! "),
        CallModel(index=2, segments=(*base, InputSegment()), stream=True),
        Commit(
            patch=(
                PatchOp("incr", "/dragons", 1),
                PatchOp("add", "/names", ["abc/1/u-17"]),
                PatchOp("add", "/notes", {"said": "<0>! <2>", "at": "1970-01-01T00:00:01+00:00", "dice": 3}),
            )
        ),
    ]


def test_on_start_runs_in_the_first_turn_only() -> None:
    cat = Role("cat")
    cat.on_start(lambda t: t.say("welcome"))
    assert [type(out) for out in play(TurnEngine(cat, START, {}))] == [Say, Commit]
    second = StartTurn(
        session="s1", session_id="abc", turn=2, version=1, message="", now_ms=0, rng_seed=0, deadline_ms=1
    )
    assert [type(out) for out in play(TurnEngine(cat, second, {}))] == [CallModel, Commit]


def degraded_by(hook: Callable[[Any], Any], state: dict[str, Any] | None = None) -> Degraded:
    """Run a turn whose on_message is this; the turn must go on without it, its state untouched."""
    cat = role()
    cat.on_message(hook)
    *_, commit = play(TurnEngine(cat, START, state or {}, max_state_bytes=2048))
    assert isinstance(commit, Commit)
    assert commit.patch == ()
    (degraded,) = commit.degraded
    assert degraded.hook.startswith("on_message:")
    return degraded


async def awaits_a_future(t: Turn[Tale]) -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


async def sleeps(t: Turn[Tale]) -> None:
    await asyncio.sleep(1)


async def raises(t: Turn[Tale]) -> None:
    t.state.dragons += 1
    t.state.notes["x"] = 1
    raise ValueError("a secret of the user's")


async def exits(t: Turn[Tale]) -> None:
    raise SystemExit(3)


def stops_iterating(t: Turn[Tale]) -> None:
    raise StopIteration


async def forgets_await(t: Turn[Tale]) -> None:
    t.reply(t.ask())


def breaks_the_type(t: Turn[Tale]) -> None:
    t.state.dragons = "many"  # type: ignore[assignment]


def stores_an_object(t: Turn[Tale]) -> None:
    t.state.notes["x"] = object()


def stores_a_circle(t: Turn[Tale]) -> None:
    t.state.notes["x"] = t.state.notes


def stores_infinity(t: Turn[Tale]) -> None:
    t.state.notes["x"] = float("inf")


def stores_no_unicode(t: Turn[Tale]) -> None:
    t.state.names = ["\ud800"]


def stores_many(t: Turn[Tale]) -> None:
    t.state.names = [""] * 40_000


def replaces_the_state(t: Turn[Tale]) -> None:
    t.state = None  # type: ignore[assignment]


def stores_too_much(t: Turn[Tale]) -> None:
    t.state.names = ["x" * 4096]


def says_a_gibibyte(t: Turn[Tale]) -> None:
    t.say("x" * (1 << 20))


def says_bytes(t: Turn[Tale]) -> None:
    t.say(b"x")  # type: ignore[arg-type]


def says_half_a_pair(t: Turn[Tale]) -> None:
    t.say("\ud800")


def returns_text(t: Turn[Tale]) -> str:
    return "hello"


def says_a_thousand_times(t: Turn[Tale]) -> None:
    for _ in range(2000):
        t.say("x")


async def asks_too_often(t: Turn[Tale]) -> None:
    for _ in range(17):
        await t.ask("?")


async def fills_the_prompt(t: Turn[Tale]) -> None:
    t.prompt.add("x" * 200_001)


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        (awaits_a_future, "foreign_await"),
        (sleeps, "foreign_await"),
        (raises, "hook_failed"),
        (exits, "hook_failed"),
        (stops_iterating, "hook_failed"),
        (forgets_await, "not_awaited"),
        (breaks_the_type, "invalid_state"),
        (stores_an_object, "invalid_state"),
        (stores_a_circle, "invalid_state"),
        (stores_infinity, "invalid_state"),
        (stores_no_unicode, "invalid_state"),
        (stores_many, "invalid_state"),
        (replaces_the_state, "invalid_state"),
        (stores_too_much, "state_too_large"),
        (says_a_gibibyte, "reply_too_large"),
        (says_bytes, "reply_not_text"),
        (says_half_a_pair, "reply_not_text"),
        (returns_text, "hook_returned_value"),
        (says_a_thousand_times, "too_many_effects"),
        (asks_too_often, "too_many_effects"),
        (fills_the_prompt, "prompt_too_large"),
    ],
)
def test_a_broken_hook_is_left_out_and_named(hook: Callable[[Any], Any], code: str) -> None:
    degraded = degraded_by(hook, {"notes": {"kept": [1]}})
    assert degraded.code == code
    assert degraded.hook == f"on_message:{hook.__name__}"


def test_what_a_failed_hook_said_stands_and_no_second_answer_is_made() -> None:
    cat = role()

    @cat.on_message
    async def half(t: Turn[Tale]) -> None:
        await t.say("one moment")
        raise ValueError

    assert play(TurnEngine(cat, START, {})) == [
        Say(index=0, text="one moment"),
        Commit(degraded=(Degraded("on_message:half", "hook_failed"),)),
    ]


def test_the_hooks_after_a_failed_one_run_on_the_state_before_it() -> None:
    cat = role()
    cat.on_message(raises)

    @cat.on_message
    def counts(t: Turn[Tale]) -> None:
        t.state.dragons += 10

    *_, commit = play(TurnEngine(cat, START, {}))
    assert isinstance(commit, Commit)
    assert commit.patch == (PatchOp("incr", "/dragons", 10),)


def test_a_required_hook_fails_the_turn_by_type_without_its_text() -> None:
    cat = role()
    cat.on_message(required=True)(raises)
    assert play(TurnEngine(cat, START, {})) == [
        TurnFailed(code="hook_failed", hook="on_message:raises", error="ValueError")
    ]


def test_a_class_named_after_a_secret_is_not_quoted() -> None:
    cat = role()

    @cat.on_message(required=True)
    def sly(t: Turn[Tale]) -> None:
        raise type("the user said hello", (Exception,), {})

    (failed,) = play(TurnEngine(cat, START, {}))
    assert isinstance(failed, TurnFailed)
    assert failed.error == "Exception"


def no_model(asked: CallModel) -> ModelResult:
    return ModelResult(index=asked.index, error="model_unavailable")


def test_without_a_model_the_turn_fails_with_its_code() -> None:
    assert play(TurnEngine(Role("cat"), START, {}), no_model)[-1] == TurnFailed(code="model_unavailable")


def test_a_hook_may_answer_in_the_models_place() -> None:
    cat = role()

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        try:
            await t.reply(t.ask())
        except ModelFailed as failed:
            await t.reply(failed.code)

    assert play(TurnEngine(cat, START, {}), no_model)[1:] == [Say(index=1, text="model_unavailable"), Commit()]


def test_a_state_of_another_shape_fails_the_turn() -> None:
    assert play(TurnEngine(role(), START, {"dragons": "many"})) == [TurnFailed(code="invalid_state")]


def test_a_turn_kept_for_later_takes_no_effects() -> None:
    cat = role()
    kept: list[Turn[Tale]] = []
    cat.on_message(kept.append)
    engine = TurnEngine(cat, START, {})
    engine.begin()
    with pytest.raises(Exception, match="over"):
        kept[0].say("later")


def test_an_answer_to_another_question_is_a_violation() -> None:
    engine = TurnEngine(Role("cat"), START, {})
    engine.begin()
    with pytest.raises(ProtocolViolation):
        engine.resume(ModelResult(index=5))


# ── replay ──────────────────────────────────────────────────────────────────────────

acts = st.lists(
    st.sampled_from(["say", "ask", "reply", "count", "dice", "raise", "catch", "overfill"]), min_size=1, max_size=8
)


def scripted(scripts: list[list[str]]) -> Role[Tale]:
    """A Role whose hooks do what their scripts say, and depend on what the model said."""
    cat = role()
    for number, script in enumerate(scripts):

        async def hook(t: Turn[Tale], script: list[str] = script) -> None:
            for act in script:
                match act:
                    case "say":
                        await t.say(f"{t.state.dragons} {t.rng.random()}")
                    case "ask":
                        t.state.names.append(await t.ask("?"))
                    case "reply":
                        await t.reply(t.ask())
                    case "count":
                        t.state.dragons += 1
                    case "dice":
                        t.state.notes[str(t.rng.randint(1, 6))] = t.replied
                    case "raise":
                        raise ValueError
                    case "catch":
                        try:
                            await t.ask("!")
                        except ModelFailed:
                            t.say("no model")
                    case "overfill":
                        t.state.names.append("x" * 200)

        cat.on_reply(hook) if number == 2 else cat.on_message(hook)
    return cat


def moody(asked: CallModel) -> ModelResult:
    if asked.index % 3 == 2:
        return ModelResult(index=asked.index, error="model_timeout")
    return ModelResult(index=asked.index, text=f"<{asked.index}>")


def follow(engine: TurnEngine, journal: list[Entry], out: list[Out], until: int) -> list[Out]:
    """Go on until `until` answers were given or the turn is over; keeps the journal as the agent does."""
    seen = list(out)
    for _ in range(until):
        journal += (entry(message) for message in out if isinstance(message, Say | CallModel))
        if engine.done:
            break
        asked = next(
            index for index in range(len(journal)) if journal[index].kind == "call_model" and not journal[index].result
        )
        result = moody(CallModel(index=asked, segments=(), stream=True))
        journal[asked] = Entry("call_model", journal[asked].mark, result)
        out = engine.resume(result)
        seen += out
    journal += (entry(message) for message in out if isinstance(message, Say | CallModel))
    return seen


@given(st.lists(acts, min_size=1, max_size=3), st.integers(0, 12))
def test_a_turn_cut_anywhere_and_run_again_asks_and_commits_the_same(scripts: list[list[str]], cut: int) -> None:
    whole = follow(engine := TurnEngine(scripted(scripts), START, {}, max_state_bytes=600), [], engine.begin(), 99)

    journal: list[Entry] = []
    first = TurnEngine(scripted(scripts), START, {}, max_state_bytes=600)
    seen = follow(first, journal, first.begin(), cut)
    if not first.done:
        again = TurnEngine(scripted(scripts), START, {}, max_state_bytes=600, journal=tuple(journal))
        kept = list(journal)
        assert again.begin() == []
        seen += follow(again, kept, [], 99)
    assert seen == whole


class Screen(Reporter):
    """Shows what hooks print, except while a run by a journal comes back to where it was."""

    def __init__(self, *, muted: bool) -> None:
        self.shown: list[str] = []
        self.muted = muted

    def print(self, text: str) -> None:
        if not self.muted:
            self.shown.append(text)

    def caught_up(self) -> None:
        self.muted = False


def printing(scripts: list[list[str]], screen: Screen) -> Role[Tale]:
    cat = role()
    for number, script in enumerate(scripts):

        async def hook(t: Turn[Tale], number: int = number, script: list[str] = script) -> None:
            for line, act in enumerate(script):
                screen.print(f"{number}:{line}")
                if act == "say":
                    await t.say("a")
                elif act == "ask":
                    await t.ask("?")
                elif act == "raise":
                    raise ValueError
            screen.print(f"{number}:end")

        cat.on_message(hook)
    return cat


@given(
    st.lists(st.lists(st.sampled_from(["say", "ask", "print", "raise"]), max_size=5), min_size=1, max_size=3),
    st.integers(0, 12),
)
def test_a_turn_run_again_shows_what_hooks_print_once(scripts: list[list[str]], cut: int) -> None:
    alone = Screen(muted=False)
    play(TurnEngine(printing(scripts, alone), START, {}, reporter=alone), moody)

    one = Screen(muted=False)
    journal: list[Entry] = []
    first = TurnEngine(printing(scripts, one), START, {}, reporter=one)
    follow(first, journal, first.begin(), cut)
    other = Screen(muted=True)
    if not first.done:
        again = TurnEngine(printing(scripts, other), START, {}, reporter=other, journal=tuple(journal))
        follow(again, list(journal), again.begin(), 99)
    assert one.shown + other.shown == alone.shown


def test_another_run_that_asks_for_something_else_is_noticed_even_if_the_hook_swallows_it() -> None:
    cat = role()

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        try:
            t.say("this time something else")
        except Exception:
            t.state.dragons += 1

    journal = (entry(Say(index=0, text="something")),)
    assert TurnEngine(cat, START, {}, journal=journal).begin() == [TurnFailed(code="replay_diverged")]


def test_a_stopped_hook_comes_as_far_as_the_journal_and_no_further() -> None:
    cat = role()
    reached: list[str] = []

    @cat.on_message
    async def loops(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        t.say("a")
        await t.ask("?")
        reached.append("after the answer, where it would loop")

    @cat.on_message
    def next_one(t: Turn[Tale]) -> None:
        t.say("b")

    first = TurnEngine(cat, START, {})
    journal = [entry(out) for out in first.begin() if isinstance(out, Say | CallModel)]
    journal[1] = Entry("call_model", journal[1].mark, ModelResult(index=1, text="x"))
    again = TurnEngine(cat, START, {}, journal=tuple(journal), stops=(Stop(0, 2, "hook_deadline"),))
    assert again.begin() == [
        Say(index=2, text="b"),
        Commit(degraded=(Degraded("on_message:loops", "hook_deadline"),)),
    ]
    assert reached == []


def test_a_hook_stopped_before_its_first_effect_is_not_called() -> None:
    cat = role()
    cat.on_message(lambda t: pytest.fail("called"))
    engine = TurnEngine(cat, START, {}, stops=(Stop(0, 0, "hook_deadline"),))
    assert [type(out) for out in engine.begin()] == [CallModel]


def test_a_required_hook_that_was_stopped_fails_the_turn() -> None:
    cat = role()
    cat.on_message(required=True)(lambda t: None)
    engine = TurnEngine(cat, START, {}, stops=(Stop(0, 0, "hook_deadline"),))
    assert engine.begin() == [TurnFailed(code="hook_deadline", hook="on_message:<lambda>")]


# ── interrupted ─────────────────────────────────────────────────────────────────────────


def cut(engine: TurnEngine, at: int, heard: int, text: str = "Once upon") -> list[Out]:
    """Run a turn that the user interrupts at question number `at`, the first being 0."""
    asked = 0

    def answer(question: CallModel) -> ModelResult:
        nonlocal asked
        asked += 1
        if asked <= at:
            return ModelResult(index=question.index, text=f"<{question.index}>")
        return ModelResult(index=question.index, text=text, error="interrupted", heard=heard)

    return play(engine, answer)


def storyteller() -> Role[Tale]:
    """Changes its state before and after each question, and in every other hook."""
    cat = role()

    @cat.on_start
    def begin(t: Turn[Tale]) -> None:
        t.state.names.append("began")

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        t.state.notes["mood"] = await t.ask("Which mood?")
        t.say("Hm. ")
        t.state.dragons += 10
        try:
            t.state.notes["story"] = await t.reply(t.ask())
        finally:
            t.state.dragons += 100

    @cat.on_message
    def second(t: Turn[Tale]) -> None:
        t.state.names.append("second")

    @cat.on_reply
    def after(t: Turn[Tale]) -> None:
        t.state.names.append("after")

    @cat.on_interrupt
    def interrupted(t: Turn[Tale]) -> None:
        t.state.names.append(f"heard {t.replied}")

    return cat


def test_an_interrupted_turn_keeps_its_state_from_before_the_answer_and_calls_on_interrupt_alone() -> None:
    *_, commit = cut(TurnEngine(storyteller(), START, {}), at=1, heard=6)
    assert commit == Commit(
        patch=(
            PatchOp("incr", "/dragons", 11),
            PatchOp("add", "/names", ["began", "heard Hm. On"]),
            PatchOp("add", "/notes", {"mood": "<0>"}),
        )
    )
    *_, commit = cut(TurnEngine(storyteller(), START, {}), at=0, heard=0)
    assert commit == Commit(patch=(PatchOp("incr", "/dragons", 1), PatchOp("add", "/names", ["began", "heard "])))


def test_without_hooks_an_interrupted_turn_just_ends() -> None:
    assert cut(TurnEngine(Role("cat"), START, {}), at=0, heard=3)[-1] == Commit()


def test_the_reply_is_over_for_on_interrupt() -> None:
    cat = role()
    refused = []

    @cat.on_interrupt
    async def talks(t: Turn[Tale]) -> None:
        try:
            await t.ask("one more?")
        except Exception as error:
            refused.append(error)
        t.say("wait!")

    asked, commit = cut(TurnEngine(cat, START, {}), at=0, heard=3)
    assert isinstance(asked, CallModel)
    assert commit == Commit(degraded=(Degraded("on_interrupt:talks", "interrupted"),))
    assert [error.code for error in refused] == ["interrupted"]  # type: ignore[attr-defined]


def test_a_hook_that_was_interrupted_with_a_state_that_cannot_be_kept_is_left_out() -> None:
    cat = role()

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        t.state.dragons = "many"  # type: ignore[assignment]
        t.memory.remember("has seen many dragons")
        t.memory.remember("many dragons", kind="short")
        await t.reply(t.ask())

    @cat.on_interrupt
    def count(t: Turn[Tale]) -> None:
        t.state.dragons += 1

    *_, commit = cut(TurnEngine(cat, START, {}), at=0, heard=3)
    assert commit == Commit(
        patch=(PatchOp("incr", "/dragons", 1),), degraded=(Degraded("on_message:answer", "invalid_state"),)
    )


def test_a_required_hook_for_the_interruption_fails_the_turn() -> None:
    cat = role()

    @cat.on_interrupt(required=True)
    def broken(t: Turn[Tale]) -> None:
        raise ValueError

    *_, failed = cut(TurnEngine(cat, START, {}), at=0, heard=3)
    assert failed == TurnFailed(code="hook_failed", hook="on_interrupt:broken", error="ValueError")


def test_an_interrupted_turn_runs_again_from_its_journal_as_it_ended() -> None:
    first = TurnEngine(storyteller(), START, {})
    (asked,) = first.begin()
    assert isinstance(asked, CallModel)
    said, more = first.resume(ModelResult(index=0, text="<0>"))
    assert isinstance(said, Say)
    assert isinstance(more, CallModel)
    over = ModelResult(index=2, text="Once upon", error="interrupted", heard=6)
    journal = [
        Entry("call_model", entry(asked).mark, ModelResult(index=0, text="<0>")),
        entry(said),
        Entry("call_model", entry(more).mark, over),
    ]
    assert TurnEngine(storyteller(), START, {}, journal=journal).begin() == first.resume(over)


def test_an_older_engine_would_take_an_interruption_for_a_model_that_failed() -> None:
    """What it reads of the answer, as it does not know `heard`: the hook that asked is left out, its state with it."""

    def older(question: CallModel) -> ModelResult:
        return ModelResult(index=question.index, text="Once", error="interrupted")

    *_, failed = play(TurnEngine(Role("cat"), START, {}), older)
    assert failed == TurnFailed(code="interrupted")


def test_a_change_is_urgent_where_a_hook_said_so_that_was_not_left_out() -> None:
    calm, burning, broken = role(), role(), role()

    @calm.on_message
    def unchanged(t: Turn[Tale]) -> None:
        t.urgent()
        t.say("nothing changed")

    @burning.on_message
    def changed(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        t.urgent()
        t.say("a dragon!")

    @broken.on_message
    def fails(t: Turn[Tale]) -> None:
        t.urgent()
        raise ValueError

    @broken.on_message
    def goes_on(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        t.say("one")

    commits = [play(TurnEngine(one, START, {}))[-1] for one in (calm, burning, broken)]
    assert [isinstance(commit, Commit) and commit.urgent for commit in commits] == [False, True, False]
