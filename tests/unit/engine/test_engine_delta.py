"""on_delta: it sees an answer while it is given, may end it, and changes nothing of the turn."""

from typing import Any

from rolehost import Role, State, Turn
from rolehost_api.link.messages import CallModel, Commit, ModelResult, StartTurn
from rolehost_runtime.core.engine import Reporter, TurnEngine


class Tale(State):
    words: int = 0


class Listening(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def failed(self, hook: Any, error: BaseException) -> None:
        self.failures.append(type(error).__name__)


def begun(role: Role[Any], reporter: Reporter | None = None) -> TurnEngine:
    start = StartTurn(session="s", session_id="s", turn=1, version=0, message="hi", now_ms=0, rng_seed=1, deadline_ms=9)
    engine = TurnEngine(role, start, {}, reporter=reporter)
    assert isinstance(engine.begin()[-1], CallModel)
    return engine


def ended(engine: TurnEngine) -> Commit:
    (*_, commit) = engine.resume(ModelResult(index=0, text="Once upon a time"))
    assert isinstance(commit, Commit)
    return commit


def test_it_sees_each_piece_and_ends_the_answer_where_it_says_so() -> None:
    cat, heard = Role("cat"), list[str]()

    @cat.on_delta
    def watch(t: Turn[Any]) -> None:
        heard.append(t.delta)
        if "dragon" in t.delta:
            t.stop()

    engine = begun(cat)
    assert [engine.notice("Once "), engine.notice("a dragon ")] == [False, True]
    assert heard == ["Once ", "a dragon "]
    assert ended(engine).degraded == ()
    assert not engine.notice("more"), "the turn is over"


def test_it_changes_nothing_and_what_it_may_not_do_is_its_own_fault() -> None:
    cat, reporter = Role("cat", state=Tale), Listening()

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        state = t.state
        state.words += 1
        await t.reply(t.ask())
        t.state.words += 1

    @cat.on_delta
    def logs(t: Turn[Tale]) -> None:
        t.log(f"saw {t.delta}")
        t.urgent()
        t.prompt.add("never")

    @cat.on_delta
    def says(t: Turn[Tale]) -> None:
        t.say("no")

    @cat.on_delta
    def emits(t: Turn[Tale]) -> None:
        t.emit("custom.no", {})

    @cat.on_delta
    async def waits(t: Turn[Tale]) -> None:
        await t.ask()

    @cat.on_delta
    def counts(t: Turn[Tale]) -> None:
        t.state.words += 100

    engine = begun(cat, reporter)
    assert not engine.notice("Once ")
    assert reporter.lines == ["saw Once ", "(on_delta changed the state, which is as it was)"]
    assert reporter.failures == ["LogicError"] * 3
    commit = ended(engine)
    assert [op.value for op in commit.patch] == [2]
    assert (commit.urgent, commit.emitted, commit.degraded) == (False, (), ())


def test_nobody_else_stops_an_answer() -> None:
    cat = Role("cat")

    @cat.on_message
    async def answer(t: Turn[Any]) -> None:
        t.stop()

    engine = begun(cat)
    assert [one.code for one in ended(engine).degraded] == ["no_effects_here"]
