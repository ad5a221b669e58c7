"""State with scope user, as a tenant declares it, reads it and tests it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rolehost import Counter, LogicError, Role, Set, State, Turn
from rolehost.testing import RoleSession
from rolehost_api.link.messages import Commit, PatchOp, StartTurn
from rolehost_runtime.core.engine import TurnEngine
from rolehost_runtime.core.states import States

Open = Callable[..., RoleSession]


class Tale(State):
    stories: int = 0


class Bond(State, scope="user"):
    dragons: Counter = 0
    met: Set = set()
    mood: str = "calm"


def test_sessions_of_one_person_share_it_and_no_others(role_session: Open) -> None:
    first, second = (role_session("bond_for_tests.py", user="u-17") for _ in range(2))
    other = role_session("bond_for_tests.py", user="u-18")
    first.say("A dragon and Smaug").expect.state(stories=1).user_state(dragons=1, met={"A", "Smaug"})
    told = second.say("two dragon dragon!")
    told.expect.state(stories=1).user_state(dragons=3, met={"A", "Smaug"}, mood="wild").text("1/3").no_event("error")
    other.say("hello").expect.user_state(dragons=0, met=set(), mood="calm")
    first.say("forget them").expect.state(stories=2).user_state(dragons=3, met=set())


def test_without_a_user_it_is_the_sessions_own(role_session: Open) -> None:
    first, second = (role_session("bond_for_tests.py") for _ in range(2))
    first.say("a dragon and Smaug")
    first.say("a dragon and Ann").expect.state(stories=2).user_state(dragons=2, met={"Smaug", "Ann"})
    second.say("hello").expect.user_state(dragons=0, met=set())
    assert first.raw == {"stories": 2, "@user": {"dragons": 2, "met": {"Ann": True, "Smaug": True}, "mood": "calm"}}
    first.say("forget").expect.user_state(dragons=2, met=set()).no_event("error")


def test_where_it_is_the_only_one_it_is_t_state() -> None:
    for role in (Role("cat", state=Bond), Role("cat", user_state=Bond)):

        @role.on_message
        def answer(t: Turn[Any]) -> None:
            assert t.state is t.user_state
            t.state.dragons += 1
            t.say("yes")

        session = RoleSession(role, str(Path(__file__).parent), user="u-17")
        session.say("hello").expect.state(dragons=1).user_state(dragons=1).no_event("error")
        assert (session.raw, session.shared) == ({}, {"dragons": 1})


def play(role: Role[Any], shared: dict[str, Any] | None, user_at: str = "1", **more: Any) -> Commit:
    start = StartTurn(
        session="s", session_id="s", turn=2, version=0, message="hi", now_ms=1, rng_seed=1, deadline_ms=9, user_at=user_at
    )  # fmt: skip
    engine = TurnEngine(role, start, {}, user_state=shared, **more)
    out = engine.begin()
    assert isinstance(out[-1], Commit)
    return out[-1]


def test_what_goes_to_the_platform_is_the_difference() -> None:
    role = Role("cat", state=Tale, user_state=Bond)

    @role.on_message
    def answer(t: Turn[Tale]) -> None:
        t.state.stories += 1
        t.user_state.dragons += 2
        t.user_state.met = {"Smaug"}
        t.user_state.mood = "wild"
        t.say("yes")

    commit = play(role, {"dragons": 40, "met": {"Ann": True}, "mood": "calm", "newer": 1})
    assert commit.patch == (PatchOp("incr", "/stories", 1),)
    assert commit.user_patch == (
        PatchOp("incr", "/dragons", 2),
        PatchOp("remove", "/met/Ann"),
        PatchOp("add", "/met/Smaug", True),
        PatchOp("replace", "/mood", "wild"),
    )


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda t: setattr(t, "user_state", Bond()), ""),
        (lambda t: setattr(t, "user_state", None), "invalid_state"),
        (lambda t: setattr(t, "state", t.user_state), "invalid_state"),
        (lambda t: setattr(t.user_state, "met", {1}), "invalid_state"),
        (lambda t: setattr(t.user_state, "dragons", 2**53), "invalid_state"),
        (lambda t: setattr(t.user_state, "mood", "x" * 70_000), "state_too_large"),
        (lambda t: t.user_state.met.add("x\ud800"), "invalid_state"),
    ],
)
def test_a_hook_that_spoils_it_is_left_out(spoil: Callable[[Any], None], code: str) -> None:
    role = Role("cat", state=Tale, user_state=Bond)

    @role.on_message
    def answer(t: Turn[Tale]) -> None:
        t.say("yes")
        t.user_state.dragons += 1
        spoil(t)

    commit = play(role, {"dragons": 40})
    assert [one.code for one in commit.degraded] == ([code] if code else [])
    assert commit.user_patch == (() if code else (PatchOp("incr", "/dragons", -40),))


def test_what_grew_too_large_by_others_may_still_shrink() -> None:
    role = Role("cat", user_state=Bond)

    @role.on_message
    def answer(t: Turn[Any]) -> None:
        t.say("yes")
        t.user_state.met.discard("a" * 50)

    commit = play(role, {"met": {"a" * 50: True, "b" * 90: True}}, max_state_bytes=100)
    assert (commit.degraded, commit.user_patch) == ((), (PatchOp("remove", "/met/" + "a" * 50),))


def test_a_role_without_it_reads_none() -> None:
    role = Role("cat", state=Tale)

    @role.on_message
    def answer(t: Turn[Tale]) -> None:
        assert t.user_state is None
        t.say("yes")

    assert (play(role, {"dragons": 1}).user_patch, play(role, {"dragons": 1}).degraded) == ((), ())
    assert States(role, {}, {"dragons": 1}, 100).read().user == {}


def wrong_default(**namespace: Any) -> Role[Any]:
    return Role("cat", state=type("Odd", (State,), namespace, scope="user"))


@pytest.mark.parametrize(
    "declare",
    [
        pytest.param(lambda: Role("cat", state=Bond, user_state=Bond), id="the-same-twice"),
        pytest.param(lambda: Role("cat", user_state=Tale), id="a-sessions-as-a-persons"),
        pytest.param(lambda: Role("cat", user_state=dict), id="no-state"),  # type: ignore[arg-type]
        pytest.param(lambda: wrong_default(__annotations__={"n": Counter}, n=3), id="a-counter-from-three"),
        pytest.param(lambda: Role("cat", state=type("O", (State,), {"__annotations__": {"n": Set}, "n": set()})), id="a-set-of-a-session"),
        pytest.param(lambda: type("O", (State,), {"__annotations__": {"n": int}, "n": 1}, rename=lambda name: "@n"), id="a-name-of-ours"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused(declare: Callable[[], object]) -> None:
    with pytest.raises(LogicError) as refused:
        declare()
    assert refused.value.code == "invalid_state"


def test_who_derives_from_a_persons_state_is_one_too() -> None:
    class Closer(Bond):
        secrets: int = 0

    assert Role("cat", state=Closer).user_state is Closer
