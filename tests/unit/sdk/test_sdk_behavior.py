"""A behaviour graph as a tenant tests it: edges, hooks of nodes, and why it went that way."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rolehost import LogicError, Role, State, Turn
from rolehost.testing import RoleSession
from rolehost_runtime.core.behavior.declaring import graph_of

Opening = Callable[..., RoleSession]
OPENS = "graph_for_tests.py"


async def test_a_message_takes_an_edge_and_the_nodes_hooks_run(role_session: Opening) -> None:
    session: RoleSession = role_session(OPENS, user="u-17")
    first = await session.say("讲一个关于龙的短故事")
    first.expect.transition("Idle", "Explore", why="hears_dragon").state(dragons=1).node("Explore").no_event("error")
    second = await session.say("another dragon")
    second.expect.no_transition().node("Explore").state(dragons=1)
    third = await session.say("thank you")
    third.expect.transition("Explore", "Idle")
    assert third.logs == ["leaving Explore", "in Idle"]


async def test_the_fixture_says_why_it_did_not_go_there(role_session: Opening) -> None:
    told = await role_session(OPENS).say("a cat")
    with pytest.raises(AssertionError, match=r"(?s)went nowhere.*Idle → Explore \(hears_dragon\): false"):
        told.expect.transition("Idle", "Explore")


async def test_a_session_of_the_fixture_may_be_seeded(role_session: Opening) -> None:
    """0.8 against 0.2 is no wager here: with one edge that holds, it is taken whatever the seed."""
    for seed in range(5):
        (await role_session(OPENS, seed=seed).say("a dragon")).expect.node("Explore")


def test_one_function_may_decide_for_several_edges_and_several_for_one() -> None:
    role = Role("story")

    @role.edge("A", "B", weight=2)
    @role.edge("A", "C", cooldown=timedelta(minutes=5))
    def often(t: Turn[State]) -> bool:
        return True

    @role.edge("A", "B", cooldown=3)
    def seldom(t: Turn[State]) -> bool:
        return False

    graph = graph_of(role)
    assert graph is not None
    (walk,) = graph.walks
    found = [(key, rule.edge.weight, rule.why) for key, rule in walk.rules]
    assert sorted(found) == [("A>B", 2.0, "often"), ("A>B>2", 1.0, "seldom"), ("A>C", 1.0, "often")]
    cools = {key: (rule.edge.cooldown_turns, rule.edge.cooldown_seconds) for key, rule in walk.rules}
    assert cools == {"A>B": (0, 0), "A>B>2": (3, 0), "A>C": (0, 300)}
    assert [edge.name for edge in role.edges] == ["edge:often#2", "edge:often", "edge:seldom"]


@pytest.mark.parametrize("cooldown", [-1, True, 1.5, "10m", timedelta(seconds=-1)])
def test_a_cooldown_is_of_turns_or_of_time(cooldown: object) -> None:
    with pytest.raises(LogicError, match="cooldown"):
        Role("story").edge("A", "B", cooldown=cooldown)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        pytest.param(lambda role: role.edge("A", "B", weight=-1), "weight", id="weight"),
        pytest.param(lambda role: role.edge("A", "B", weight="much"), "weight", id="no-number"),
        pytest.param(lambda role: role.edge("A", "a/b"), "name", id="name"),
        pytest.param(lambda role: role.edge("A", 3), "name", id="no-name"),
    ],
)
def test_an_edge_that_cannot_be_says_where_it_stands(declare: Callable[[Role[State]], object], message: str) -> None:
    role = Role("story")
    declare(role)
    with pytest.raises(LogicError, match=message) as told:
        graph_of(role)
    assert told.value.declared_at[0] == __file__  # type: ignore[attr-defined]


def test_hooks_of_nodes_need_a_graph() -> None:
    role = Role("story")
    role.enter("Explore")(lambda t: None)
    with pytest.raises(LogicError, match="no node Explore"):
        graph_of(role)
    with pytest.raises(LogicError, match="graph without edges"):
        graph_of(Role("story", initial="Idle"))


def test_a_role_may_say_where_it_begins() -> None:
    role = Role("story", initial="B")
    role.edge("A", "B")
    graph = graph_of(role)
    assert graph is not None
    assert graph.walks[0].initial == "B"
    role.initial = "C"
    with pytest.raises(LogicError, match="no node C"):
        graph_of(role)
