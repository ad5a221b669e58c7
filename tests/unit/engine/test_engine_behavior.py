"""The graph within a turn: predicates only answer, hooks of nodes are hooks, what a session changes is part of the turn."""

from typing import Any

import pytest
from tests.unit.engine.test_engine import START, play

from rolehost import Role, State, Turn
from rolehost_api.errors import LogicError
from rolehost_api.link.messages import (
    INTERRUPTED,
    CallModel,
    Commit,
    Degraded,
    ModelResult,
    PatchOp,
    Say,
    StartTurn,
    TurnFailed,
)  # fmt: skip
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.place import MAX_OVERRIDES
from rolehost_runtime.core.behavior.ticking import Ticked
from rolehost_runtime.core.engine import Out, Reporter, TurnEngine
from rolehost_runtime.core.journal import Stop, entry
from rolehost_runtime.core.patch import apply


class Tale(State):
    dragons: int = 0
    names: list[str] = []


def story() -> Role[Tale]:
    return Role("story", state=Tale)


def at(turn: int) -> StartTurn:
    return StartTurn(
        session="s1", session_id="abc", turn=turn, version=0, message="hi", user="u-17", now_ms=1000 * turn, rng_seed=turn,
        deadline_ms=9,
    )  # fmt: skip


def engine(role: Role[Any], state: dict[str, Any] | None = None, start: StartTurn = START, **more: Any) -> TurnEngine:
    return TurnEngine(role, start, state or {}, graph=graph_of(role), **more)


def committed(role: Role[Any], state: dict[str, Any] | None = None, start: StartTurn = START, **more: Any) -> Commit:
    *_, commit = play(engine(role, state, start, **more))
    assert isinstance(commit, Commit)
    return commit


def steps(commit: Commit) -> list[tuple[str, str]]:
    return [(step.source, step.target) for step in commit.transitions]


# ── predicates ──────────────────────────────────────────────────────────────────────


def says(t: Turn[Tale]) -> bool:
    t.say("me")
    return True


def asks(t: Turn[Tale]) -> bool:
    t.ask("you?")
    return True


def remembers(t: Turn[Tale]) -> bool:
    t.memory.remember("they wrote")
    return True


def raises(t: Turn[Tale]) -> bool:
    raise ValueError("a secret of the user's")


def matches(t: Turn[Tale]) -> Any:
    return 1


@pytest.mark.parametrize(
    ("predicate", "code"),
    [
        pytest.param(says, "no_effects_here", id="effect"),
        pytest.param(asks, "no_effects_here", id="question"),
        pytest.param(remembers, "no_effects_here", id="memory"),
        pytest.param(raises, "hook_failed", id="raises"),
        pytest.param(matches, "predicate_not_bool", id="not-a-bool"),
    ],
)
def test_a_predicate_that_fails_is_false_and_the_turn_says_so(predicate: Any, code: str) -> None:
    role = story()
    role.edge("Idle", "Explore")(predicate)
    role.edge("Idle", "Rest")
    out = play(engine(role))
    commit = out[-1]
    assert isinstance(commit, Commit)
    assert [type(one) for one in out] == [CallModel, Commit]
    assert (steps(commit), commit.degraded) == ([("Idle", "Rest")], (Degraded(f"edge:{predicate.__name__}", code),))


def test_what_a_node_remembers_is_committed_with_the_step_to_it_and_goes_with_its_hook() -> None:
    role = story()
    role.edge("Idle", "Explore")

    @role.enter("Explore")
    async def meets(t: Turn[Tale]) -> None:
        await t.memory.remember("has met a dragon", kind="long")

    @role.enter("Explore")
    def breaks(t: Turn[Tale]) -> None:
        t.memory.remember("something that is lost with its hook")
        raise ValueError("no")

    commit = committed(role)
    assert (steps(commit), [one.text for one in commit.atoms]) == ([("Idle", "Explore")], ["has met a dragon"])


def test_a_predicate_is_no_coroutine() -> None:
    role = story()

    async def hears(t: Turn[Tale]) -> bool:
        return True

    with pytest.raises(LogicError, match="plain def"):
        role.edge("Idle", "Explore")(hears)  # type: ignore[type-var]
    role = story()
    role.edge("Idle", "Explore")(lambda t: hears(t))  # type: ignore[type-var]
    assert committed(role).degraded == (Degraded("edge:<lambda>", "predicate_not_bool"),)


def test_what_a_predicate_changes_is_not_kept() -> None:
    role = story()

    @role.edge("Idle", "Explore")
    def meddles(t: Turn[Tale]) -> bool:
        t.state.dragons += 1
        t.prompt.add("Be rude.")
        t.urgent()
        t.behavior.disable("Explore")
        return True

    @role.on_message
    def after(t: Turn[Tale]) -> None:
        t.state.names = [t.node, f"{t.state.dragons} {t.is_urgent} {t.prompt.texts}"]

    commit = committed(role)
    (added, names) = sorted(commit.patch, key=lambda one: one.path)
    assert (added.path, added.value) == ("/@behavior", {"main": {"node": "Explore"}})
    assert (names.path, names.value) == ("/names", ["Explore", "0 False []"])


def test_a_predicate_may_log() -> None:
    class Listening(Reporter):
        lines: list[str] = []

        def log(self, text: str) -> None:
            self.lines.append(text)

    role = story()

    @role.edge("Idle", "Explore")
    def tells(t: Turn[Tale]) -> bool:
        t.log(f"in {t.node}, {dict(t.nodes)}")
        return False

    committed(role, reporter=Listening())
    assert Listening.lines == ["in Idle, {'main': 'Idle'}"]


def test_a_predicate_that_never_returned_is_left_out_when_the_turn_runs_again() -> None:
    role, called = story(), []

    def note(word: str) -> bool:
        called.append(word)
        return True

    role.edge("Idle", "Explore")(lambda t: note("spins"))
    role.edge("Idle", "Rest")(lambda t: note("rests"))
    commit = committed(role, stops=[Stop(0, 0, "hook_deadline")])
    assert (called, steps(commit)) == (["rests"], [("Idle", "Rest")])
    assert commit.degraded == (Degraded("edge:<lambda>", "hook_deadline"),)


# ── doors ───────────────────────────────────────────────────────────────────────────


def door() -> tuple[Role[Tale], list[str]]:
    """Idle → Explore on every message, with hooks that write down when they are called."""
    role, called = story(), []
    role.edge("Idle", "Explore")
    role.on_start(lambda t: called.append(f"start in {t.node}"))
    role.exit("Idle")(lambda t: called.append(f"exit in {t.node}"))
    role.enter("Explore")(lambda t: called.append(f"enter in {t.node}"))
    role.on_message(lambda t: called.append(f"message in {t.node}"))
    return role, called


def test_hooks_come_in_order_and_see_where_the_session_is() -> None:
    role, called = door()
    commit = committed(role)
    assert called == ["start in Idle", "exit in Idle", "enter in Explore", "message in Explore"]
    assert steps(commit) == [("Idle", "Explore")]
    again = committed(role, {"@behavior": {"main": {"node": "Explore"}}}, at(2))
    assert (called[4:], again.patch, again.transitions) == (["message in Explore"], (), ())


def test_nobody_enters_the_node_that_a_session_begins_in() -> None:
    role, called = story(), []
    role.edge("Idle", "Explore", weight=0)
    role.enter("Idle")(lambda t: called.append("entered"))
    assert committed(role).patch == (PatchOp("add", "/@behavior", {"main": {"node": "Idle"}}),)
    assert called == []


def test_a_hook_of_a_node_may_speak_and_ask_and_when_it_fails_the_session_is_there_all_the_same() -> None:
    role = story()
    role.edge("Idle", "Explore")

    @role.enter("Explore")
    async def looks(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        t.behavior.weight("Idle", "Explore", 0.5)
        await t.say("Oh! ")
        await t.ask("What is there?")
        raise ValueError

    out = play(engine(role))
    commit = out[-1]
    assert isinstance(commit, Commit)
    assert [type(one) for one in out] == [Say, CallModel, Commit]
    assert commit.patch == (PatchOp("add", "/@behavior", {"main": {"node": "Explore"}}),)
    assert (steps(commit), commit.degraded[0].hook) == ([("Idle", "Explore")], "enter:looks")


def test_a_required_hook_of_a_node_fails_the_turn() -> None:
    role = story()
    role.edge("Idle", "Explore")
    role.enter("Explore", required=True)(lambda t: 1 / 0)  # type: ignore[type-var]
    (failed,) = play(engine(role))
    assert failed == TurnFailed(code="hook_failed", hook="enter:<lambda>", error="ZeroDivisionError")


@pytest.mark.parametrize("moment", ["exit", "enter"])
def test_who_interrupts_a_hook_at_the_door_stops_the_hook_and_not_the_step(moment: str) -> None:
    role, called = story(), []
    role.edge("Idle", "Explore")

    async def speaks(t: Turn[Tale]) -> None:
        t.state.dragons += 1
        await t.reply(t.ask())
        t.state.dragons += 10

    (role.exit("Idle") if moment == "exit" else role.enter("Explore"))(speaks)
    role.on_message(lambda t: called.append("message"))
    role.on_interrupt(lambda t: called.append(f"interrupted in {t.node}"))
    heard = ModelResult(index=0, text="Once upon", error=INTERRUPTED, heard=4)
    commit = play(engine(role), lambda asked: heard)[-1]
    assert isinstance(commit, Commit)
    assert called == ["interrupted in Explore"]
    assert steps(commit) == [("Idle", "Explore")]
    state = apply({}, commit.patch)
    assert (state["dragons"], state["@behavior"]) == (1, {"main": {"node": "Explore"}})


def test_a_turn_that_runs_again_by_its_journal_goes_the_same_way() -> None:
    role = story()
    for target in "abcdef":
        role.edge("Idle", target)

    @role.on_message
    async def tells(t: Turn[Tale]) -> None:
        t.say(t.node)
        await t.reply(t.ask())

    for seed in range(20):
        start = StartTurn(
            session="s1", session_id="abc", turn=1, version=0, message="hi", now_ms=1, rng_seed=seed, deadline_ms=9
        )
        out: list[Out] = play(engine(role, start=start))
        said, asked, commit = out
        assert isinstance(asked, CallModel)
        answered = entry(asked)
        journal = [entry(said), type(answered)(answered.kind, answered.mark, ModelResult(index=1, text="<1>"))]  # type: ignore[arg-type]
        assert play(engine(role, start=start, journal=journal)) == [commit]


# ── what a session changes of its graph ─────────────────────────────────────────────


def steered(*calls: Any, state: dict[str, Any] | None = None) -> tuple[dict[str, Any], Commit]:
    """The state after a turn whose on_message does this; node A leads to B and C."""
    role = story()
    role.edge("A", "B")
    role.edge("A", "C")

    @role.on_message
    def steers(t: Turn[Tale]) -> None:
        for call in calls:
            call(t.behavior)

    commit = committed(role, state or {"@behavior": {"main": {"node": "C"}}})
    return apply(state or {"@behavior": {"main": {"node": "C"}}}, commit.patch), commit


def test_what_the_logic_changes_of_the_graph_is_durable_with_the_turn() -> None:
    state, commit = steered(
        lambda b: b.disable("B"),
        lambda b: b.disable("A", "C"),
        lambda b: b.weight("A", "B", 0.2),
        lambda b: b.add_node("D", "Doze."),
        lambda b: b.add_edge("C", "D", weight=2, when="turn > 1", cooldown_turns=3),
    )
    assert commit.degraded == ()
    assert state["@behavior"]["main"] == {
        "node": "C",
        "nodes": {"B": {"disabled": True}, "D": {"prompt": "Doze."}},
        "edges": {
            "A>C": {"disabled": True},
            "A>B": {"weight": 0.2},
            "C>D": {"weight": 2.0, "added": True, "when": "turn > 1", "cooldown_turns": 3},
        },
    }
    back, _ = steered(lambda b: b.reset(), state=state)
    assert back["@behavior"]["main"] == {"node": "C"}


def test_an_added_edge_leads_to_an_added_node_whose_prompt_is_told() -> None:
    state, _ = steered(lambda b: b.add_node("D", "Doze."), lambda b: b.add_edge("C", "D", when="turn == 2"))
    role = story()
    role.edge("A", "B")
    role.edge("A", "C")
    asked, commit = play(engine(role, state, at(2)))
    assert isinstance(asked, CallModel)
    assert isinstance(commit, Commit)
    assert steps(commit) == [("C", "D")]
    assert next(getattr(segment, "text", "") for segment in asked.segments) == "Doze."


@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param(lambda b: b.disable("X"), "unknown_node", id="node"),
        pytest.param(lambda b: b.weight("B", "A", 1), "unknown_edge", id="edge"),
        pytest.param(lambda b: b.weight("A", "B", -1), "invalid_behavior", id="weight"),
        pytest.param(lambda b: b.weight("A", "B", True), "invalid_behavior", id="no-number"),
        pytest.param(lambda b: b.weight("A", "B", 10**400), "invalid_behavior", id="huge"),
        pytest.param(lambda b: b.add_node("B"), "invalid_behavior", id="node-that-is-there"),
        pytest.param(lambda b: b.add_node("a>b"), "invalid_behavior", id="name"),
        pytest.param(lambda b: b.add_node("D", "x" * 9000), "invalid_behavior", id="long-prompt"),
        pytest.param(lambda b: b.add_edge("A", "B"), "invalid_behavior", id="edge-that-is-there"),
        pytest.param(lambda b: b.add_edge("A", "X"), "unknown_node", id="edge-to-nowhere"),
        pytest.param(lambda b: b.add_edge("B", "A", when="1 +"), "invalid_expression", id="expression"),
        pytest.param(lambda b: b.add_edge("B", "A", cooldown_turns=-1), "invalid_behavior", id="cooldown"),
        pytest.param(lambda b: b.disable("A", subgraph="x"), "unknown_subgraph", id="subgraph"),
        pytest.param(
            lambda b: [b.add_node(f"n{n}") for n in range(MAX_OVERRIDES + 1)], "too_many_overrides", id="many"
        ),
        pytest.param(lambda b: [b.add_node(f"n{n}", "x" * 4000) for n in range(5)], "too_many_overrides", id="large"),
    ],
)
def test_what_cannot_be_changed_fails_the_hook_and_changes_nothing(call: Any, code: str) -> None:
    before = {"@behavior": {"main": {"node": "C"}}}
    state, commit = steered(lambda b: b.disable("B"), call)
    assert ([one.code for one in commit.degraded], state) == ([code], before)


def test_a_role_without_a_graph_says_so() -> None:
    role = story()
    seen = []
    role.on_message(lambda t: seen.append((t.node, dict(t.nodes))))
    role.on_message(lambda t: t.behavior.disable("A"))
    commit = committed(role, {"@behavior": {"main": {"node": "A"}}})
    assert seen == [("", {})]
    assert (commit.patch, commit.degraded[0].code) == ((), "invalid_behavior")


def test_a_change_that_a_new_revision_has_no_use_for_is_ignored_and_said_once() -> None:
    kept = {"main": {"node": "A", "nodes": {"Old": {"disabled": True}}}}
    role = story()
    role.edge("A", "B", weight=0)
    first = committed(role, {"@behavior": kept}, at(2))
    assert first.degraded == (Degraded("behavior", "override_ignored"),)
    state = apply({"@behavior": kept}, first.patch)
    assert state["@behavior"]["main"] == {**kept["main"], "ignored": ["Old"]}
    assert committed(role, state, at(3)) == Commit()


def test_a_node_that_a_new_revision_lacks_is_left_for_its_initial_one() -> None:
    role, called = story(), []
    role.edge("A", "B")
    role.enter("A")(lambda t: called.append("entered"))
    commit = committed(role, {"@behavior": {"main": {"node": "Old"}}}, at(2))
    assert ([(step.source, step.target, step.why) for step in commit.transitions]) == [("Old", "A", "node_gone")]
    assert called == ["entered"]


def test_places_that_cannot_be_read_begin_anew() -> None:
    role = story()
    role.edge("A", "B")
    for broken in ("x", {"main": 3}, {"main": {"node": 1}}):
        commit = committed(role, {"@behavior": broken}, at(2))
        assert apply({"@behavior": broken}, commit.patch)["@behavior"] == {"main": {"node": "B"}}


def test_where_the_place_does_not_fit_into_the_state_neither_step_nor_place_is_kept() -> None:
    role = story()
    role.edge("A", "B")
    commit = committed(role, {"names": ["x" * 1000]}, max_state_bytes=1024)
    assert (commit.patch, commit.transitions) == ((), ())
    assert commit.degraded == (Degraded("commit", "state_too_large"),)


def test_the_trace_is_told_to_who_listens() -> None:
    class Listening(Reporter):
        heard: list[Ticked] = []

        def ticked(self, ticked: Ticked) -> None:
            self.heard.append(ticked)

    role = story()
    role.edge("A", "B")(lambda t: False)
    committed(role, reporter=Listening())
    (ticked,) = Listening.heard
    assert [(way.key, verdict) for way, verdict in ticked.trace[0].looked_at] == [("A>B", "false")]


@pytest.mark.parametrize("event", ["enter", "exit"])
def test_an_invented_name_in_a_hook_is_a_load_error_that_says_what_was_meant(event: str) -> None:
    role = story()
    role.edge("Idle", "Explore")
    getattr(role, event)("Explor")(lambda t: None)
    with pytest.raises(LogicError, match=r"no node Explor\. Did you mean Explore") as told:
        graph_of(role)
    assert told.value.declared_at[0] == __file__  # type: ignore[attr-defined]


def test_a_state_that_forbids_what_it_does_not_know_knows_nothing_of_the_place() -> None:
    class Strict(State, forbid_unknown_fields=True):
        dragons: int = 0

    role: Role[Strict] = Role("story", state=Strict)
    role.edge("A", "B")
    state = apply({}, committed(role).patch)
    assert committed(role, state, at(2)) == Commit()
