"""Where a session stands in its graph: told, kept, and taken along to another gateway, a fork, a snapshot and a new code."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.support.house import House, playing
from tests.support.rooms import ACME, Ear, FakePod, principal, revision_entry, role_entry, world

from rolehost import Role, State, Turn
from rolehost_api.link.messages import MAX_EMITTED, MAX_TRANSITIONS, Bound, Commit, PatchOp, StartTurn, Transition
from rolehost_api.wire import BehaviorTransition, ResponseCreated, ResponseDone, Said, Snapshot, StateDelta
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.place import BEHAVIOR
from rolehost_runtime.core.export import ExportTurn, recorded
from rolehost_runtime.core.record import MAX_EVENTS, TurnRecord, decode, encode
from rolehost_runtime.core.rerun import Differs, Same, rerun
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import Sessions
from rolehost_runtime.gateway.sessions.metrics import PrometheusSink

OWN = Whose(ACME.uid, "cat")


class Tale(State):
    visits: int = 0


def cat(*, again: int = 0) -> Role[Tale]:
    """Idle → Explore for `go`, back for `home`, and Explore → Sleep after `tire`, which makes that edge."""
    role = Role("cat", state=Tale)

    @role.edge("Idle", "Explore", weight=0.8, cooldown=again)
    def is_sent(t: Turn[Tale]) -> bool:
        return t.message == "go"

    @role.edge("Explore", "Idle")
    def is_called(t: Turn[Tale]) -> bool:
        return t.message == "home"

    @role.enter("Explore")
    def count(t: Turn[Tale]) -> None:
        t.state.visits += 1

    @role.on_message
    def says(t: Turn[Tale]) -> None:
        if t.message == "tire":
            t.behavior.add_node("Sleep", "Snore.")
            t.behavior.add_edge("Explore", "Sleep", when="message == 'down'")
        t.say(t.node)

    return role


class Two:
    """Gateways `a` and `b` on one shelf, each with a pod of its own."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.a, self.b = (House(world(ACME), self.shelf) for _ in range(2))
        self.pods: list[FakePod] = []

    async def start(self) -> "Two":
        for number, house in enumerate((self.a, self.b)):
            self.pods.append(house.pod(f"p{number}", turn=playing(cat()), bound=Bound(hash=revision_entry().spec.hash)))
            await house.pool.start()
        return self

    async def stop(self) -> None:
        for house in (self.a, self.b):
            await house.service.stop(0)
            await house.pool.stop()

    @property
    def service(self) -> Sessions:
        return self.a.service


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    built = await Two().start()
    yield built
    await built.stop()


async def say(handle: Any, *messages: str) -> None:
    for message in messages:
        await handle.say(Said(message=message))


def replies(ear: Ear) -> list[str]:
    return [event.message for event in ear.of(ResponseDone)]


def went(ear: Ear) -> list[tuple[int | None, str, str, str]]:
    return [(event.seq, event.from_, event.to, event.edge.why) for event in ear.of(BehaviorTransition)]


async def state(house: House, sid: str = "s") -> Any:
    return await house.service.state(principal(ACME), role_entry(), sid)


async def test_a_step_is_an_event_of_the_log_before_the_change_of_the_state(two: Two) -> None:
    handle, ear = await two.a.attach("s")
    await say(handle, "hi", "go")
    numbered = [event for event in ear.heard if event.seq is not None]
    assert [type(event) for event in numbered] == [
        StateDelta, ResponseDone, BehaviorTransition, StateDelta, ResponseDone,
    ]  # fmt: skip
    assert [event.seq for event in numbered] == [1, 2, 3, 4, 5]
    assert went(ear) == [(3, "Idle", "Explore", "is_sent")]
    (step,) = ear.of(BehaviorTransition)
    assert (step.subgraph, step.edge.weight, step.edge.of) == ("main", 0.8, 0.8)
    assert two.a.sink.moved == [("acme", "cat", 1)]


async def test_clients_are_shown_the_nodes_and_not_what_is_kept_about_them(two: Two) -> None:
    handle, ear = await two.a.attach("s")
    await say(handle, "hi", "go", "tire")
    assert [event.patch for event in ear.of(StateDelta)] == [(), (PatchOp("incr", "/visits", 1),), ()]
    assert [event.version for event in ear.of(StateDelta)] == [1, 2, 3]
    assert [event.behavior for event in ear.of(ResponseCreated)] == [None, "Idle", "Explore"]
    seen = await state(two.a)
    assert (seen.state, dict(seen.nodes)) == ({"visits": 1}, {"main": "Explore"})
    late, heard = await two.a.attach("s")
    await late.resume(0, whole=True)
    (shown,) = heard.of(Snapshot)
    assert (shown.state, shown.nodes) == ({"visits": 1}, {"main": "Explore"})


async def test_a_replay_tells_the_same_steps(two: Two) -> None:
    handle, ear = await two.a.attach("s")
    await say(handle, "go", "home", "go")
    late, heard = await two.a.attach("s")
    await late.resume(0)
    assert went(heard) == went(ear) == [
        (1, "Idle", "Explore", "is_sent"), (4, "Explore", "Idle", "is_called"), (7, "Idle", "Explore", "is_sent"),
    ]  # fmt: skip
    assert all(event.replay for event in heard.of(BehaviorTransition))
    page = await two.a.service.events(principal(ACME), role_entry(), "s", 3)
    assert [event.seq for event in page.events] == [4, 5, 6, 7, 8, 9]


async def test_another_gateway_goes_on_from_the_same_node_with_what_was_changed(two: Two) -> None:
    handle, _ = await two.a.attach("s")
    await say(handle, "go", "tire")
    other, ear = await two.b.attach("s")
    await say(other, "down")
    assert went(ear) == [(6, "Explore", "Sleep", "message == 'down'")]
    assert dict((await state(two.b)).nodes) == {"main": "Sleep"}
    await other.resume(0)
    assert len(went(ear)) == 3


async def test_a_new_revision_goes_on_from_the_same_node(two: Two) -> None:
    handle, ear = await two.a.attach("s")
    await say(handle, "go", "tire")
    newer = cat()
    newer.edge("Explore", "Feast")
    two.pods[0].turn = playing(newer)
    await say(handle, "and on")
    assert went(ear)[-1][1:] == ("Explore", "Feast", "")
    two.pods[0].turn = playing(cat())
    await say(handle, "back")
    assert went(ear)[-1][1:] == ("Feast", "Idle", "node_gone")
    assert (await state(two.a)).state == {"visits": 1}


async def test_a_turn_that_fails_took_no_step(two: Two) -> None:
    handle, ear = await two.a.attach("s")
    failing = cat()
    failing.on_reply(required=True)(lambda t: 1 / 0)  # type: ignore[type-var]
    two.pods[0].turn = playing(failing)
    with pytest.raises(Exception, match="logic failed"):
        await handle.say(Said(message="go"))
    assert went(ear) == []
    two.pods[0].turn = playing(cat())
    await say(handle, "go")
    assert went(ear) == [(1, "Idle", "Explore", "is_sent")]


async def test_a_fork_stands_where_the_session_stood(two: Two) -> None:
    handle, _ = await two.a.attach("s")
    await say(handle, "go", "home")
    fresh = await two.a.service.kept.fork(OWN, "s", 3)
    fork, ear = await two.a.attach(fresh)
    await say(fork, "hi")
    assert (replies(ear), dict((await state(two.a)).nodes)) == (["Explore"], {"main": "Idle"})


async def test_an_export_tells_the_steps_and_can_be_run_again(two: Two) -> None:
    handle, _ = await two.a.attach("s")
    await say(handle, "go", "tire", "down", "hi")
    lines = [line async for line in two.a.service.kept.export("acme", OWN, "s")]
    turns = [recorded(line) for line in lines if isinstance(line, ExportTurn)]
    assert [[step.target for step in turn.transitions] for turn in turns] == [["Explore"], [], ["Sleep"], []]
    role = cat()
    assert list(rerun(role, "s", turns, graph_of(role))) == [Same(turn) for turn in (1, 2, 3, 4)]
    other = cat()
    other.edges[0].function = lambda t: False
    (verdict,) = rerun(other, "s", turns, graph_of(other))
    assert isinstance(verdict, Differs)
    assert (verdict.what, verdict.recorded) in (("reply", "Explore"), ("transitions", '["Idle → Explore (is_sent)"]'))


async def test_a_session_is_restored_from_a_snapshot_with_its_place(two: Two) -> None:
    handle, _ = await two.a.attach("s")
    await say(handle, "go", "tire", *(["hi"] * 70))
    await two.a.service._world.snapshotting.idle()
    assert await two.a.store.kept(OWN.key("s")) is not None
    other, ear = await two.b.attach("s")
    await say(other, "down")
    assert went(ear)[0][1:3] == ("Explore", "Sleep")


def test_steps_are_counted_by_role_and_by_nothing_that_a_tenant_names_freely() -> None:
    registry = CollectorRegistry()
    PrometheusSink(registry).transitions("acme", "cat", 2)
    labels = {"tenant": "acme", "role": "cat"}
    assert registry.get_sample_value("rolehost_behavior_transitions_total", labels) == 2.0


# ── what a pod may say ──────────────────────────────────────────────────────────────


def forging(*steps: Transition, patch: tuple[PatchOp, ...] = ()) -> Any:
    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Commit(patch=patch, transitions=steps))

    return turn


async def test_what_a_pod_says_of_steps_is_cut_to_a_line_and_to_numbers(two: Two) -> None:
    two.pods[0].turn = forging(
        Transition(subgraph="main", source="a\nb", target="c\x00", why="\x1b[31m", weight=float("inf"), of=-3.0)
    )
    handle, ear = await two.a.attach("s")
    await say(handle, "hi")
    (step,) = ear.of(BehaviorTransition)
    assert (step.from_, step.to, step.edge.why, step.edge.weight, step.edge.of) == ("a b", "c ", " [31m", 0.0, 0.0)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([{"subgraph": "m", "from": "a" * 65, "to": "b"}], id="long-name"),
        pytest.param([{"subgraph": "m", "from": "a", "to": "b"}] * (MAX_TRANSITIONS + 1), id="many"),
        pytest.param([{"subgraph": "m", "from": "a", "to": "b", "why": "x" * 257}], id="long-why"),
    ],
)
def test_more_than_may_be_said_is_no_message(steps: list[Any]) -> None:
    commit = msgspec.msgpack.encode({"t": "commit", "transitions": steps})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(commit, type=Commit)


@pytest.mark.parametrize("place", ["x", 3, {"main": "x"}, {"main": {"node": 3}}, {"m" * 65: {"node": "a"}}, {"m": {}}])
async def test_a_place_that_no_engine_writes_is_shown_to_nobody(two: Two, place: Any) -> None:
    two.pods[0].turn = forging(patch=(PatchOp("add", f"/{BEHAVIOR}", place), PatchOp("add", "/visits", 1)))
    handle, ear = await two.a.attach("s")
    await say(handle, "hi")
    two.pods[0].turn = playing(cat())
    await say(handle, "go")
    assert ear.of(ResponseCreated)[-1].behavior is None
    assert dict((await state(two.a)).nodes)["main"] == "Explore"
    assert (await state(two.a)).state == {"visits": 2}


# ── the release before ──────────────────────────────────────────────────────────────


def test_a_record_of_before_has_no_steps_and_one_of_today_is_read_by_the_release_before() -> None:
    step = Transition(
        subgraph="main", source="Idle", target="Explore", weight=0.8, of=1.0, why="is_sent", draw=2**64 - 1
    )
    record = TurnRecord(
        log_id="l", epoch=1, turn=1, seq_first=1, seq_count=2, version=0, now_ms=1, at_ms=2, revision="r",
        response_id="r1", input="hi", reply="", transitions=(step,),
    )  # fmt: skip
    assert decode({name.encode(): value for name, value in encode(record).items()}) == record
    body = msgspec.msgpack.decode(encode(record)["body"])
    before = {name: value for name, value in body.items() if name != "transitions"}

    class Before(msgspec.Struct, kw_only=True):
        """The fields that matter here, as the release before reads them: what it does not know is ignored."""

        turn: int
        seq_count: int

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(body), type=Before).seq_count == 2
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=TurnRecord).transitions == ()
    assert MAX_EVENTS == 4 + MAX_TRANSITIONS + MAX_EMITTED


async def test_a_pod_of_the_release_before_leaves_the_place_alone(two: Two) -> None:
    """It knows no graph: the session goes on without, and from the same node where a newer pod takes it up."""
    handle, ear = await two.a.attach("s")
    await say(handle, "go")
    old = Role("cat", state=Tale)
    old.on_message(lambda t: t.say("hm"))
    two.pods[0].turn = playing(old)
    await say(handle, "home")
    two.pods[0].turn = playing(cat())
    await say(handle, "hi", "home")
    assert replies(ear) == ["Explore", "hm", "Explore", "Idle"]
