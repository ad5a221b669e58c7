"""What turns remember, on gateways that live and die: recalled by whoever it is of, forgotten for good, hidden from others."""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, Ear, FakePod, principal, put, revision_entry, role_entry, serve, world

from rolehost import Role, Turn
from rolehost_api.crd.role import MemoryPrompt, MemorySpec, Persona, RoleTemplate
from rolehost_api.errors import NotFound, RolehostError, Unavailable
from rolehost_api.link.messages import (
    Commit,
    HistorySegment,
    InputSegment,
    Recall,
    Recalled,
    Remember,
    StartTurn,
    TextSegment,
)
from rolehost_api.wire import MemoryCommitted, ResponseDone, Said, SessionCreated, Usage
from rolehost_runtime.core.export import ExportMemory, ExportTurn
from rolehost_runtime.core.memory.atoms import MAX_ATOMS, Atom, Changes, atoms_of, kept, marked
from rolehost_runtime.core.memory.recalling import HEADER, Indexed
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.meanings import Meanings
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.sessions.remembering import Remembering

U17, NOBODY = Whose(ACME.uid, "cat", "u-17"), Whose(ACME.uid, "cat")
KEY = U17.key("a")
diary: Role[Any] = Role("diary")


@diary.on_message
async def listen(t: Turn[Any]) -> None:
    """`+text` remembers, `?words` recalls, `-words` forgets, `!text` is what the user claims, `=words` confirms it."""
    what = t.message[1:]
    match t.message[0]:
        case "+":
            t.memory.remember(what)
            t.say("noted")
        case "!":
            t.memory.remember(what, asserted=True)
            t.say("so you say")
        case "=":
            for one in await t.memory.recall(what, asserted=True):
                t.memory.confirm(one)
            t.say("confirmed")
        case "-":
            t.say(f"{await t.memory.forget(about=what)} gone")
        case "?":
            t.say("; ".join(one.text for one in await t.memory.recall(what)) or "nothing")
        case _:
            await t.reply(t.ask())


ALL = ("model.call", "memory.read", "memory.write", "memory.forget")


def template(*permissions: str, **prompt: Any) -> RoleTemplate:
    return RoleTemplate(
        persona=Persona(system="You are a cat."),
        permissions=permissions,
        memory=MemorySpec(prompt=MemoryPrompt(**prompt)),
    )


class Gateways:
    """`a` and `b` on one shelf, each with a pod of its own."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.a, self.b = (House(world(ACME), self.shelf) for _ in range(2))
        self.pods: list[FakePod] = []

    async def start(self) -> "Gateways":
        for number, house in enumerate((self.a, self.b)):
            serve(house.tables, revision_entry(template=template(*ALL)))
            self.pods.append(house.pod(f"p{number}", turn=playing(diary)))
            await house.pool.start()
        return self

    async def stop(self) -> None:
        for house in (self.a, self.b):
            await house.service.stop(0)
            await house.pool.stop()

    async def stored(self) -> Any:
        return await self.a.store.memories(KEY, {})


@pytest.fixture
async def two() -> AsyncIterator[Gateways]:
    built = await Gateways().start()
    yield built
    await built.stop()


async def say(handle: Any, ear: Ear, message: str) -> str:
    await handle.say(Said(message=message))
    return str(ear.of(ResponseDone)[-1].message)


async def test_a_turn_that_was_just_acknowledged_is_recalled_in_any_session_of_the_person(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    other, heard = await two.b.attach("b", user="u-17")
    stranger, far = await two.a.attach("c", user="u-18")
    assert [event.memory for event in ear.of(SessionCreated)] == ["user"]
    for number in range(3):  # each gateway has a copy, and neither believes it
        assert await say(one, ear, f"+dragon {number}") == "noted"
        assert f"dragon {number}" in await say(other, heard, "?dragons")
        assert await say(other, heard, f"+spider {number}") == "noted"
        assert f"spider {number}" in await say(one, ear, "?spiders")
    assert await say(stranger, far, "?dragons") == "nothing"


async def test_what_a_revision_remembered_that_was_given_up_is_not_recalled_and_not_lost(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+the dragon is called Smaug")
    good = serve(
        two.a.tables, revision_entry(sequence=2, template=template("model.call", "memory.read", "memory.write"))
    )
    two.a.pod("p9", turn=playing(diary))
    fresh, heard = await two.a.attach("b", user="u-17")
    await say(fresh, heard, "+the dragon sleeps")
    bad = revision_entry(template=template(*ALL)).name
    role = two.a.tables.roles.get("acme", "cat")
    assert role is not None
    put(two.a.tables, replace(role, stable=good.name, quarantined=(bad,)))
    assert await say(fresh, heard, "?dragon") == "the dragon sleeps"
    put(two.a.tables, replace(role, stable=good.name))
    assert set((await say(fresh, heard, "?dragon")).split("; ")) == {"the dragon sleeps", "the dragon is called Smaug"}


def test_what_a_quarantined_relation_took_the_place_of_holds_again() -> None:
    def lives(name: str, town: str, at: int, revision: str) -> Atom:
        return Atom(id=name, kind="rel", subject="Ann", predicate="lives in", object=town, at_ms=at, revision=revision)

    stored = kept({}, Changes(added=(lives("a", "Oslo", 1, "cat-1"), lives("b", "Rome", 5, "cat-2")), at_ms=5), "m")
    known = Indexed.of(stored)
    asked = Recall(index=0, query="Ann", k=5)
    assert [one.atom.object for one in known.found(asked, 9)] == ["Rome"]
    without = known.without(frozenset({"cat-2"}))
    assert [one.atom.object for one in without.found(asked, 9)] == ["Oslo"]
    assert known.without(frozenset({"cat-2"})) is without
    assert known.without(frozenset({"cat-9"})) is known


async def test_clients_hear_what_is_remembered_in_its_place_of_the_log(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+用户怕蜘蛛")
    [told] = ear.of(MemoryCommitted)
    [atom] = told.atoms
    assert (told.seq, atom.kind, atom.text, atom.source_turn, atom.asserted) == (1, "long", "用户怕蜘蛛", 1, False)
    assert ear.of(ResponseDone)[-1].seq == 2
    again = await two.a.service.events(principal(ACME, user="u-17"), role_entry(), "a", 0)
    assert [(event.seq, event.atoms) for event in again.events if isinstance(event, MemoryCommitted)] == [(1, (atom,))]
    await say(handle, ear, "-蜘蛛")
    assert [event.forgotten for event in ear.of(MemoryCommitted)] == [(), (atom.id,)]


async def test_without_a_user_memory_is_the_sessions_own_and_it_says_so(two: Gateways) -> None:
    one, ear = await two.a.attach("a")
    other, heard = await two.a.attach("b")
    assert [event.memory for event in ear.of(SessionCreated)] == ["session"]
    await say(one, ear, "+a dragon")
    assert await say(one, ear, "?dragon") == "a dragon"
    assert await say(other, heard, "?dragon") == "nothing"
    found, _ = await two.a.service.kept.memories(NOBODY, "a", "", "", 9)
    assert [one.text for one in found] == ["a dragon"]
    receipt = await two.a.service.kept.forget(NOBODY, "a")
    assert receipt.deleted["memories"] == 1
    assert two.shelf.memories == {}


async def test_what_a_user_claims_is_kept_apart_until_logic_confirms_it(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "!I am the admin")
    assert ear.of(MemoryCommitted)[0].atoms[0].asserted
    assert await say(handle, ear, "?admin") == "nothing"
    await say(handle, ear, "=admin")
    assert len(ear.of(MemoryCommitted)[-1].confirmed) == 1
    assert await say(handle, ear, "?admin") == "I am the admin"


async def test_a_forgotten_session_takes_with_it_what_its_turns_remembered(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    other, heard = await two.a.attach("b", user="u-17")
    await say(one, ear, "+a dragon")
    await say(one, ear, "+a spider")
    await say(other, heard, "+a dragonfly, and a dragon")
    receipt = await two.b.service.kept.forget(U17, "a")
    assert (receipt.deleted["memories"], receipt.deleted["records"]) == (2, 2)
    assert await say(other, heard, "?dragon spider") == "a dragonfly, and a dragon"
    assert len(marked(await two.stored(), b"x")) == 2


async def test_a_forgotten_user_leaves_nothing(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    await say(one, ear, "+a spider")
    receipt = await two.b.service.kept.forget_user(U17)
    assert receipt.deleted["memories"] == 2
    assert await two.stored() == {} or not atoms_of(await two.stored())
    again, heard = await two.a.attach("new", user="u-17")
    assert await say(again, heard, "?dragon spider") == "nothing"


async def test_a_user_sees_and_forgets_what_is_remembered_of_them(two: Gateways) -> None:
    kept = two.a.service.kept
    one, ear = await two.a.attach("a", user="u-17")
    for text in ("tea", "a dragon", "two dragons"):
        two.a.clock.now_ms += 1000
        await say(one, ear, f"+{text}")
    page, after = await kept.memories(U17, "", "", "", 2)
    rest, end = await kept.memories(U17, "", "", after, 2)
    assert [one.text for one in (*page, *rest)] == ["two dragons", "a dragon", "tea"]
    assert end == ""
    assert {one.text for one in (await kept.memories(U17, "", "dragon", "", 9))[0]} == {"two dragons", "a dragon"}
    assert (page[0].session_id, page[0].turn) == ("a", 3)
    assert (await kept.memories(Whose(ACME.uid, "cat", "u-18"), "", "", "", 9))[0] == []
    receipt = await kept.forget_memory(U17, "", page[0].id)
    assert (receipt.deleted, receipt.user) == ({"memories": 1}, "u-17")
    for whose, name in ((U17, page[0].id), (Whose(ACME.uid, "cat", "u-18"), page[1].id)):
        with pytest.raises(NotFound):
            await kept.forget_memory(whose, "", name)
    assert await say(one, ear, "?dragons") == "a dragon"


async def test_an_export_holds_what_is_remembered_and_which_turn_did(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    lines = [line async for line in two.a.service.kept.export("acme", U17, None)]
    [memory] = [line for line in lines if isinstance(line, ExportMemory)]
    [turn] = [line for line in lines if isinstance(line, ExportTurn)]
    assert memory.atom.text == "a dragon"
    assert turn.atoms == (memory.atom,)


# ── what a Role may ─────────────────────────────────────────────────────────────────


def hostile(*messages: Any) -> Any:
    """A pod that asks for things whatever its Role may."""

    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        for message in messages:
            pod.send(channel, message)
            if isinstance(message, Recall):
                pod.heard_of = await pod.answer(channel)  # type: ignore[attr-defined]

    return turn


@pytest.mark.parametrize(
    ("asked", "permission"),
    [
        (Commit(atoms=(Remember(text="a"),)), "memory.write"),
        (Commit(confirmed=("a",)), "memory.write"),
        (Commit(forgotten=("a",)), "memory.forget"),
    ],
)
async def test_a_pod_changes_no_memory_without_the_permission(two: Gateways, asked: Commit, permission: str) -> None:
    serve(two.a.tables, revision_entry(template=template(*(one for one in ALL if one != permission))))
    two.a.pod("p9", turn=hostile(asked))
    handle, ear = await two.a.attach("a", user="u-17")
    with pytest.raises(RolehostError) as raised:
        await handle.say(Said(message="x"))
    assert raised.value.code == "permission_denied"
    assert ear.of(ResponseDone)[-1].status == "failed"
    assert two.shelf.memories == {}


@pytest.mark.parametrize(("to_forget", "permission"), [(False, "memory.read"), (True, "memory.forget")])
async def test_a_pod_recalls_nothing_without_the_permission(two: Gateways, to_forget: bool, permission: str) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+a dragon")
    serve(two.a.tables, revision_entry(template=template(*(one for one in ALL if one != permission))))
    pod = two.a.pod("p9", turn=hostile(Recall(index=0, query="dragon", to_forget=to_forget), Commit()))
    other, _ = await two.a.attach("b", user="u-17")
    await other.say(Said(message="x"))
    assert pod.heard_of == Recalled(index=0, error="permission_denied")  # type: ignore[attr-defined]


async def test_who_may_forget_but_not_read_hears_no_text(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+a dragon")
    serve(two.a.tables, revision_entry(template=template("memory.forget")))
    pod = two.a.pod("p9", turn=hostile(Recall(index=0, query="dragon", to_forget=True), Commit()))
    other, _ = await two.a.attach("b", user="u-17")
    await other.say(Said(message="x"))
    [told] = pod.heard_of.atoms  # type: ignore[attr-defined]
    assert (bool(told.id), told.text, told.session_id) == (True, "", "")


async def test_what_is_no_memory_fails_the_turn_and_not_the_session(two: Gateways) -> None:
    two.pods[0].turn = hostile(Commit(atoms=(Remember(text="a", subject="b"),)))
    handle, ear = await two.a.attach("a", user="u-17")
    with pytest.raises(RolehostError) as raised:
        await handle.say(Said(message="x"))
    assert raised.value.code == "invalid_memory"
    two.pods[0].turn = playing(diary)
    assert await say(handle, ear, "+a dragon") == "noted"


# ── the prompt ──────────────────────────────────────────────────────────────────────


async def test_the_model_is_reminded_right_before_the_message_and_nothing_above_changes(two: Gateways) -> None:
    house = two.a
    serve(house.tables, revision_entry(template=template(*ALL, enabled=True, max_items=2)))
    house.pod("p9", turn=playing(diary))
    slow = house.slow_model()
    handle, ear = await house.attach("a", user="u-17")
    for text in ("Ann fears spiders", "Ann has met a dragon", "Ann likes tea"):
        await say(handle, ear, f"+{text}")
    await say(handle, ear, "!Ann is an admin with a dragon")
    prompts = []
    for message in ("a dragon!", "spiders!", "nothing of it"):
        slow.pieces.put_nowait("ok")
        slow.pieces.put_nowait(ModelEnd("stop", Usage()))
        await say(handle, ear, f".{message}")
        prompts.append(slow.shown)
    assert prompts[0][-1] == ("user", f"{HEADER}\n- Ann has met a dragon]\n\n.a dragon!")
    assert prompts[1][-1] == ("user", f"{HEADER}\n- Ann fears spiders]\n\n.spiders!")
    assert prompts[2][-1] == ("user", ".nothing of it")
    for before, after in itertools.pairwise(prompts):
        assert after[: len(before) - 1] == before[:-1], "what was there before the message is there still"
        assert after[len(before) - 1] == ("user", before[-1][1].rpartition("\n")[2]), "and its reminder is not"
    assert ear.of(ResponseDone)[-1].metrics.recall_ms >= 0


async def test_nobody_is_reminded_unless_the_manifest_says_so(two: Gateways) -> None:
    slow = two.a.slow_model()
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+a dragon")
    slow.pieces.put_nowait("ok")
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await say(handle, ear, ".a dragon!")
    assert slow.shown[-1] == ("user", ".a dragon!")


async def test_a_question_of_the_logics_own_is_reminded_of_nothing(two: Gateways) -> None:
    memories = Memories(two.a.store, two.a.clock)
    await two.a.store.change_memories(KEY, Changes(added=(Atom(id="a", text="a dragon", at_ms=1),)))
    remembering = Remembering(memories, Meanings(None), ACME, KEY, template(*ALL, enabled=True), 2)
    own = (HistorySegment(), TextSegment("user", "Summarise: a dragon"))
    assert await remembering.reminded(own, "a dragon") == own
    asked = (HistorySegment(), InputSegment())
    assert len(await remembering.reminded(asked, "a dragon")) == 3


# ── turns that run again ────────────────────────────────────────────────────────────


async def test_a_turn_whose_pod_was_lost_goes_on_with_what_it_recalled(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+a dragon")
    first = two.pods[0]
    lost = asyncio.Event()

    async def dies(pod: FakePod, channel: int, start: StartTurn) -> None:
        if not lost.is_set():
            pod.send(channel, Recall(index=0, query="dragons"))
            await pod.answer(channel)
            await two.a.store.change_memories(KEY, Changes(added=(Atom(id="later", text="dragons", at_ms=1),)))
            lost.set()
            pod.lose()
        else:
            await playing(diary)(pod, channel, start)

    first.turn = dies
    assert await say(handle, ear, "?dragons") == "a dragon", "as it was when it asked first"
    [*_, record] = [one for one in await two.a.log() if isinstance(one, TurnRecord)]
    [entry] = [one for one in record.journal if one.kind == "recall"]
    assert "dragon" not in entry.outcome


async def test_a_turn_that_another_gateway_takes_over_remembers_once(two: Gateways) -> None:
    """Its first gateway dies with the record on its way: the client says it again elsewhere."""
    handle, _ = await two.a.attach("a", user="u-17")
    came = asyncio.Event()

    async def pause() -> None:
        came.set()
        await asyncio.Event().wait()

    two.pods[0].turn = playing(diary, before_commit=pause)
    saying = asyncio.create_task(handle.say(Said(message="+a dragon", client_msg_id="c1")))
    await came.wait()
    await two.a.die()
    other, ear = await two.b.attach("a", user="u-17")
    await other.say(Said(message="+a dragon", client_msg_id="c1"))
    await other.say(Said(message="+a dragon", client_msg_id="c1"))
    assert [atom.text for atom in atoms_of(await two.b.store.memories(KEY, {}))] == ["a dragon"]
    assert await say(other, ear, "?dragon") == "a dragon"
    await asyncio.gather(saying, return_exceptions=True)


# ── bounds ──────────────────────────────────────────────────────────────────────────


async def test_what_is_too_much_is_tidied_behind_a_turns_back(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    slight = tuple(Atom(id=f"n{n:04}", text="x", at_ms=n, salience=0) for n in range(MAX_ATOMS))
    await two.a.store.change_memories(KEY, Changes(added=slight))
    await say(handle, ear, "?dragon")
    await say(handle, ear, "+a dragon")
    await two.a.service._world.memories.idle()
    left = atoms_of(await two.stored())
    assert len(left) == int(0.9 * MAX_ATOMS)
    assert "a dragon" in {atom.text for atom in left}
    assert min(int(atom.id[1:]) for atom in left if atom.text == "x") == 101, "the oldest went"


async def test_a_turn_that_finds_no_room_at_all_makes_some_and_is_durable(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    slight = tuple(Atom(id=f"n{n:04}", text="x", at_ms=n, salience=0) for n in range(2 * MAX_ATOMS - 3))
    await two.a.store.change_memories(KEY, Changes(added=slight))
    assert await say(handle, ear, "+a dragon") == "noted"
    assert await say(handle, ear, "?dragon") == "a dragon"


async def test_hot_partitions_are_bounded_by_what_they_take(two: Gateways) -> None:
    memories = Memories(two.a.store, two.a.clock, max_bytes=30_000)
    keys = [Whose(ACME.uid, "cat", f"u-{n}").key("s") for n in range(30)]
    for key in keys:
        await two.a.store.change_memories(key, Changes(added=(Atom(id="a", text="x" * 50, at_ms=1),)))
        assert len((await memories.newest(key)).partition.held) == 1
        assert memories.weight <= 30_000
    assert 0 < len(memories._hot) < 30
    for key in keys:
        await memories.drop(key)
    assert memories.weight == 0


async def test_a_client_that_tells_the_past_itself_has_no_memory(two: Gateways) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    told, heard = await two.a.attach("b", user="u-17", told=Told())
    assert [event.memory for event in heard.of(SessionCreated)] == ["session"]
    assert await say(told, heard, "?dragon") == "nothing"
    assert await say(told, heard, "+a spider") == "noted"
    assert len(atoms_of(await two.stored())) == 1


async def test_a_fork_of_a_session_of_nobodys_remembers_what_the_copied_turns_did(two: Gateways) -> None:
    handle, ear = await two.a.attach("a")
    for message in ("+a dragon", "!a claim", "+a spider"):
        await say(handle, ear, message)
    fresh = await two.a.service.kept.fork(NOBODY, "a", ear.of(ResponseDone)[1].seq)
    other, heard = await two.b.attach(fresh)
    assert await say(other, heard, "?dragon claim spider") == "a dragon"
    await say(other, heard, "+a dragonfly")
    assert await say(handle, ear, "?dragon dragonfly spider") != await say(other, heard, "?dragonfly dragon spider")
    found, _ = await two.a.service.kept.memories(NOBODY, fresh, "", "", 9)
    assert {one.text for one in found} == {"a dragon", "a claim", "a dragonfly"}


async def test_a_fork_is_seen_with_its_memory_or_not_at_all(two: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    handle, ear = await two.a.attach("a")
    await say(handle, ear, "+a dragon")
    kept = two.a.service.kept

    async def away(*_: Any) -> int:
        raise Unavailable("the store is away", code="state_unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(kept.remembered, "change", away)
        with pytest.raises(Unavailable):
            await kept.fork(NOBODY, "a", None, "twig")
    with pytest.raises(NotFound):
        await kept.details(NOBODY, "twig")
    assert await kept.fork(NOBODY, "a", None, "twig") == "twig"
    other, heard = await two.b.attach("twig")
    assert await say(other, heard, "?dragon") == "a dragon"


async def test_a_store_that_went_back_in_time_is_told_again_what_was_remembered(two: Gateways) -> None:
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "+a dragon")
    before = copy.deepcopy(two.shelf)
    await say(handle, ear, "+a spider")
    await say(handle, ear, "-dragon")
    for name, value in vars(before).items():  # a failover to a replica that lagged
        setattr(two.shelf, name, value)
    assert len(atoms_of(await two.stored())) == 1
    assert await say(handle, ear, "+tea") == "noted"
    assert sorted(atom.text for atom in atoms_of(await two.stored())) == ["a spider", "tea"]
    other, heard = await two.b.attach("b", user="u-17")
    assert sorted((await say(other, heard, "?dragon spider tea")).split("; ")) == ["a spider", "tea"]


async def test_a_pod_that_never_stops_recalling_is_told_no(two: Gateways) -> None:
    asked = [Recall(index=number, query="x") for number in range(20)]
    heard: list[Any] = []

    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        for message in asked:
            pod.send(channel, message)
            heard.append(await pod.answer(channel))
        pod.send(channel, Commit())

    two.pods[0].turn = turn
    handle, ear = await two.a.attach("a", user="u-17")
    await say(handle, ear, "x")
    assert [one.error for one in heard] == [""] * 16 + ["too_many_effects"] * 4


async def test_a_store_that_is_away_reminds_of_nothing_and_the_answer_comes(two: Gateways) -> None:
    counted: list[tuple[str, str]] = []
    memories = Memories(two.a.store, two.a.clock, count=lambda what, outcome: counted.append((what, outcome)))

    async def away(key: str, known: Any) -> Any:
        raise Unavailable("away", code="state_unavailable")

    two.a.store.memories = away  # type: ignore[method-assign]
    remembering = Remembering(memories, Meanings(None), ACME, KEY, template(*ALL, enabled=True), 2)
    asked = (HistorySegment(), InputSegment())
    assert await remembering.reminded(asked, "a dragon") == asked
    assert await remembering.recall(Recall(index=3, query="x")) == Recalled(index=3, error="state_unavailable")
    assert counted == [("remind", "state_unavailable"), ("recall", "state_unavailable")]
