"""Two sessions of one person, on two gateways: what they share converges, and nothing that was acknowledged is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, Ear, FakePod, principal, revision_entry, role_entry, world

from rolehost import Counter, Role, Set, State, Turn
from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import Bound, Commit, PatchOp, StartTurn
from rolehost_api.wire import ResponseDone, Said, SessionCreated, StateDelta
from rolehost_runtime.core.merge import OFFSETS
from rolehost_runtime.gateway.broker.state.memory_store import Shelf


class Tale(State):
    stories: int = 0


class Bond(State, scope="user"):
    mood: str = "calm"
    dragons: Counter = 0
    met: Set = set()


cat: Role[Tale] = Role("cat", state=Tale, user_state=Bond)


@cat.on_message
def answer(t: Turn[Tale]) -> None:
    """`+2 @Ann wild`: two dragons more, has met Ann, and the mood is wild now. `-Ann`: has not met her after all."""
    t.state.stories += 1
    for word in t.message.split():
        match word[0]:
            case "+":
                t.user_state.dragons += int(word)
            case "@":
                t.user_state.met.add(word[1:])
            case "-":
                t.user_state.met.discard(word[1:])
            case _:
                t.user_state.mood = word
    t.say(f"{t.user_state.dragons} {t.user_state.mood} {','.join(sorted(t.user_state.met))}")


class Gateways:
    """`a` and `b` on one shelf, each with a pod of its own."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.a, self.b = (House(world(ACME), self.shelf) for _ in range(2))
        self.pods: dict[House, FakePod] = {}

    async def start(self, role: Role[Any] = cat, **bound: Any) -> "Gateways":
        shared = {"user_fields": ("dragons",)} | bound
        for number, house in enumerate((self.a, self.b)):
            self.pods[house] = house.pod(
                f"p{number}", turn=playing(role), bound=Bound(hash=revision_entry().spec.hash, **shared)
            )
            await house.pool.start()
        return self

    async def stop(self) -> None:
        for house in (self.a, self.b):
            await house.service.stop(0)
            await house.pool.stop()

    async def state(self, user: str = "u-17", sid: str = "a") -> Any:
        return await self.a.service.state(principal(ACME, user=user), role_entry(), sid)

    def compensations(self) -> list[tuple[str, Any]]:
        return [(one.field, one.value) for kept in self.shelf.kept.values() for one in kept]


@pytest.fixture
async def two() -> AsyncIterator[Gateways]:
    built = await Gateways().start()
    yield built
    await built.stop()


def hold(house: House, pod: FakePod) -> tuple[asyncio.Event, asyncio.Event]:
    """The pod's next turns come to their commit, and wait there: (came, may go on)."""
    came, go_on = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        came.set()
        await go_on.wait()

    pod.turn = playing(cat, before_commit=pause)
    return came, go_on


def of_user(ear: Ear) -> list[StateDelta]:
    return [event for event in ear.of(StateDelta) if event.scope == "user"]


async def test_a_session_of_the_same_person_elsewhere_goes_on_with_it(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    other, heard = await two.b.attach("b", user="u-17")
    assert [event.user_state for event in ear.of(SessionCreated)] == ["user"]
    await one.say(Said(message="+2 @Ann wild"))
    await other.say(Said(message="+1"))
    assert heard.of(ResponseDone)[-1].message == "3 wild Ann"
    whole, changed = of_user(heard)
    assert (whole.seq, whole.version, whole.patch) == (
        None, 1, (PatchOp("replace", "", {"dragons": 2, "met": {"Ann": True}, "mood": "wild"}),),
    )  # fmt: skip
    assert (changed.seq, changed.version, changed.patch) == (2, 2, (PatchOp("incr", "/dragons", 1),))
    assert heard.of(ResponseDone)[-1].user_state == "user"
    await one.say(Said(message="hello"))
    assert (ear.of(ResponseDone)[-1].message, [event.version for event in of_user(ear)]) == ("3 hello Ann", [1, 2, 3])
    seen = await two.state()
    assert (seen.state, seen.user.state) == ({"stories": 2}, {"dragons": 3, "met": {"Ann": True}, "mood": "hello"})
    assert two.compensations() == []


async def test_other_persons_and_nobody_in_particular_have_none_of_it(two: Gateways) -> None:
    one, _ = await two.a.attach("a", user="u-17")
    other, heard = await two.a.attach("a", user="u-18")
    nobody, alone = await two.a.attach("a")
    await one.say(Said(message="+2"))
    await other.say(Said(message="+1"))
    await nobody.say(Said(message="+5 @Ann"))
    await nobody.say(Said(message="+5"))
    assert heard.of(ResponseDone)[-1].message == "1 calm "
    assert alone.of(ResponseDone)[-1].message == "10 calm Ann"
    assert [event.user_state for event in alone.of(SessionCreated)] == ["session"]
    assert [event.user_state for event in alone.of(ResponseDone)] == ["session", "session"]
    assert of_user(alone) == []
    assert (await two.state("", "a")).user is None
    assert (await two.state("", "a")).state["@user"]["dragons"] == 10
    assert len(two.shelf.users) == 2


async def test_a_turn_that_was_held_up_commits_on_an_older_version_and_both_converge(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    other, heard = await two.b.attach("b", user="u-17")
    await one.say(Said(message="+1 @Ann @Bob first"))
    came, go_on = hold(two.a, two.pods[two.a])
    late = asyncio.create_task(one.say(Said(message="+10 -Ann late")))
    await came.wait()
    await other.say(Said(message="+100 -Bob @Cid early"))
    go_on.set()
    await late
    assert ear.of(ResponseDone)[-1].status == "completed"
    seen = (await two.state()).user
    assert seen.state == {"dragons": 111, "met": {"Cid": True}, "mood": "late"}
    assert two.compensations() == [("mood", "early")]
    assert (two.a.sink.lost, two.b.sink.lost) == (1, 0)
    two.pods[two.a].turn = playing(cat)
    for speaker, told in ((one, ear), (other, heard)):
        await speaker.say(Said(message="@Ann"))
        assert told.of(ResponseDone)[-1].message == "111 late Ann,Cid"


async def test_what_the_pod_holds_is_not_sent_again(two: Gateways) -> None:
    one, _ = await two.a.attach("a", user="u-17")
    for _ in range(3):
        await one.say(Said(message="+1"))
    second, _ = await two.a.attach("a2", user="u-17")
    await second.say(Said(message="+1"))
    starts = two.pods[two.a].starts()
    assert [start.user_state is None for start in starts] == [False, True, True, True]
    other, _ = await two.b.attach("b", user="u-17")
    await other.say(Said(message="+1"))
    await one.say(Said(message="+1"))
    assert two.pods[two.a].starts()[-1].user_state == {"dragons": 5}
    assert len({start.user_ref for start in two.pods[two.a].starts()}) == 1


async def test_a_store_that_forgot_begins_a_new_snapshot(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await one.say(Said(message="+1"))
    [tag] = two.shelf.users
    old = dict(two.shelf.users[tag])
    other, _ = await two.b.attach("b", user="u-17")
    await other.say(Said(message="+1"))
    came, go_on = hold(two.a, two.pods[two.a])
    late = asyncio.create_task(one.say(Said(message="+1 late")))
    await came.wait()
    two.shelf.users[tag] = old  # a failover: what `b` added is gone, and `a` had read it
    go_on.set()
    await late
    assert [event.version for event in of_user(ear)] == [1, 2, OFFSETS + 1]
    assert (await two.state()).user.state == {"dragons": 2, "mood": "late"}


async def test_a_role_that_keeps_none_asks_the_store_for_none() -> None:
    plain = Role("cat", state=Tale)

    @plain.on_message
    def answer(t: Turn[Tale]) -> None:
        t.state.stories += 1
        t.say("yes")

    two = await Gateways().start(plain, user_fields=())
    asked: list[str] = []
    ask = two.a.store.user

    async def counted(tag: str, known: Any, keep_seconds: int = 0) -> Any:
        asked.append(tag)
        return await ask(tag, known)

    two.a.store.user = counted  # type: ignore[method-assign]
    one, ear = await two.a.attach("a", user="u-17")
    await one.say(Said(message="hello"))
    await one.say(Said(message="hello"))
    assert (asked, of_user(ear), two.shelf.users) == ([], [], {})
    assert {start.user_at for start in two.pods[two.a].starts()} == {""}
    await two.stop()


@pytest.mark.parametrize(
    ("fields", "patch", "code"),
    [
        pytest.param(("n",), (PatchOp("add", "/a/b/c", 1),), "invalid_patch", id="no-such-change"),
        pytest.param((), (PatchOp("incr", "/n", 1),), "invalid_patch", id="it-had-read-none"),
        pytest.param(("n",), (PatchOp("add", "/n", "x" * 70_000),), "state_too_large", id="too-large"),
        pytest.param(
            ("n",), (PatchOp("add", "/n", 2**53), PatchOp("incr", "/m", 2**53)), "invalid_patch", id="too-far"
        ),
    ],
)
async def test_a_pod_that_changes_what_it_may_not_loses_its_turn(
    fields: tuple[str, ...], patch: tuple[PatchOp, ...], code: str
) -> None:
    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Commit(user_patch=patch))

    two = await Gateways().start(user_fields=fields)
    two.pods[two.a].turn = turn
    one, ear = await two.a.attach("a", user="u-17")
    with pytest.raises(RolehostError) as raised:
        await one.say(Said(message="hello"))
    assert (raised.value.code, two.shelf.users) == (code, {})
    assert ear.of(ResponseDone)[-1].status == "failed"
    two.pods[two.a].turn = playing(cat)
    await one.say(Said(message="+1"))
    await two.stop()


async def test_a_counter_at_its_end_fails_the_turn_and_the_session_goes_on(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    other, _ = await two.b.attach("b", user="u-17")
    came, go_on = hold(two.a, two.pods[two.a])
    late = asyncio.create_task(one.say(Said(message=f"+{2**53 - 1}")))
    await came.wait()
    await other.say(Said(message="+1"))
    go_on.set()
    with pytest.raises(RolehostError) as raised:
        await late
    assert raised.value.code == "counter_too_large"
    two.pods[two.a].turn = playing(cat)
    await one.say(Said(message="+1"))
    assert ear.of(ResponseDone)[-1].message == "2 calm "


async def test_a_replay_says_what_was_said(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    for word in ("+1", "@Ann wild"):
        await one.say(Said(message=word))
    _, late = await two.a.attach("a", user="u-17")
    page = await two.a.service.events(principal(ACME, user="u-17"), role_entry(), "a", 0)
    told = [event for event in ear.heard if event.seq is not None]
    assert [event.seq for event in told] == [1, 2, 3, 4, 5, 6]
    assert [(type(event), event.seq) for event in page.events] == [(type(event), event.seq) for event in told]
    assert [event for event in page.events if isinstance(event, StateDelta)] == ear.of(StateDelta)
    assert late.of(SessionCreated)[0].head == 6


async def test_a_pod_lost_in_mid_turn_runs_it_again_on_what_it_had_read(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    first, second = two.pods[two.a], two.a.pod("again", turn=playing(cat), bound=two.pods[two.a].bound)
    for pod in (first, second):
        came, _ = hold(two.a, pod)
        pod.came = came  # type: ignore[attr-defined]
    say = asyncio.create_task(one.say(Said(message="+1")))
    await two.a.until(lambda: bool(first.starts() or second.starts()))
    lost, left = (first, second) if first.starts() else (second, first)
    await lost.came.wait()  # type: ignore[attr-defined]
    other, _ = await two.b.attach("b", user="u-17")
    await other.say(Said(message="+10"))
    left.turn = playing(cat)
    lost.lose()
    await say
    assert [start.user_at for start in left.starts()] == [start.user_at for start in lost.starts()]
    assert (await two.state()).user.state["dragons"] == 11
    assert ear.of(ResponseDone)[-1].message == "1 calm "
