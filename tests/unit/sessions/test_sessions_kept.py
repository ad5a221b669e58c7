"""Sessions that are kept: listed, forked, exported and forgotten, while gateways hold them and while they die."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.house import House
from tests.support.rooms import ACME, EVIL, Ear, world

from rolehost_api.errors import BadRequest, Conflict, NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import Error, HeardPart, ResponseDone, Said, SessionCreated, Usage
from rolehost_runtime.core.export import ExportBegin, ExportEnd, ExportError, ExportTurn, Line
from rolehost_runtime.core.record import Amend, TurnRecord, last_seq
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.kept import Gone, Row, Subject, Whose
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.forgetting import Forgetting

OWN, U17 = Whose(ACME.uid, "cat"), Whose(ACME.uid, "cat", "u-17")
END = ModelEnd("stop", Usage())


@pytest.fixture
async def house() -> AsyncIterator[House]:
    built = House(world(ACME, EVIL))
    await built.pool.start()
    yield built
    await built.service.stop(1)
    await built.pool.stop()


async def talk(house: House, sid: str, *messages: str, user: str = "") -> tuple[Any, Ear]:
    handle, ear = await house.attach(sid, user=user)
    for message in messages:
        await handle.say(Said(message=message))
        house.clock.now_ms += 1000
    return handle, ear


async def rows(house: House, user: str | None = "", after: str = "", limit: int = 50) -> list[str]:
    found, _ = await house.service.kept.sessions(ACME.uid, "cat", user, after, limit)
    return [row.session_id for row in found]


# ── the list ────────────────────────────────────────────────────────────────────────


async def test_a_session_is_listed_from_its_first_turn_on_with_where_it_stands(house: House) -> None:
    house.pod("p1")
    await house.attach("never-spoke")
    await talk(house, "old", "one", "two")
    await talk(house, "of-u17", "one", user="u-17")
    await talk(house, "new", "one")
    assert await rows(house) == ["new", "old"]
    assert await rows(house, "u-17") == ["of-u17"]
    assert await rows(house, None) == ["new", "of-u17", "old"]
    (row,) = (await house.service.kept.sessions(ACME.uid, "cat", "u-17", "", 9))[0]
    assert (row.turns, row.seq, row.version, row.user, row.forked_from) == (1, 2, 1, "u-17", None)
    assert (await house.service.kept.sessions(EVIL.uid, "cat", None, "", 9))[0] == []


async def test_a_list_is_read_by_the_page(house: House) -> None:
    house.pod("p1")
    for number in range(5):
        await talk(house, f"s{number}", "hi")
    seen: list[str] = []
    after = ""
    while True:
        found, after = await house.service.kept.sessions(ACME.uid, "cat", "", after, 2)
        seen += [row.session_id for row in found]
        if not after:
            break
    assert seen == ["s4", "s3", "s2", "s1", "s0"]
    with pytest.raises(BadRequest, match="not from an answer"):
        await house.service.kept.sessions(ACME.uid, "cat", "", "!", 2)


async def test_nothing_is_durable_that_is_not_listed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.pod("p1")

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away", code="state_unavailable")

    handle, _ear = await house.attach("s")
    with monkeypatch.context() as patched:
        patched.setattr(house.store, "enlist", away)
        with pytest.raises(Unavailable):
            await handle.say(Said(message="one", client_msg_id="c-1"))
    assert await house.store.read(OWN.key("s")) == []
    await handle.say(Said(message="one", client_msg_id="c-1"))
    assert await rows(house) == ["s"]


async def test_a_row_that_was_lost_is_made_anew_when_its_session_is_opened(house: House) -> None:
    house.pod("p1")
    handle, _ = await talk(house, "s", "one")
    handle.detach()
    await house.store.delist(OWN, "s")
    other = House(house.tables, house.store.shelf, house.dialer)
    await other.pool.start()
    await other.attach("s")
    await asyncio.sleep(0)
    assert await rows(other) == ["s"]
    await other.service.stop(0)
    await other.pool.stop()


async def test_who_has_too_many_is_told_and_nothing_is_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.pod("p1")
    monkeypatch.setattr("rolehost_runtime.gateway.broker.state.memory_library.MAX_OF_USER", 1)
    await talk(house, "one", "hi", user="u-17")
    handle, _ = await house.attach("two", user="u-17")
    with pytest.raises(Overloaded) as raised:
        await handle.say(Said(message="hi"))
    assert raised.value.code == "too_many_kept"
    assert await house.store.read(U17.key("two")) == []


# ── forks ───────────────────────────────────────────────────────────────────────────


async def test_a_fork_goes_on_from_an_event_and_leaves_the_old_one_alone(house: House) -> None:
    house.pod("p1")
    await talk(house, "old", "one", "two", "three")
    before = await house.store.read(OWN.key("old"))
    fresh = await house.service.kept.fork(OWN, "old", 4)
    assert await house.store.read(OWN.key(fresh)) == before[:2]
    handle, ear = await house.attach(fresh)
    (created,) = ear.of(SessionCreated)
    assert (created.head, created.version, created.greeting) == (4, 2, "")
    assert (created.forked_from.session_id, created.forked_from.at_seq) == ("old", 4)
    await handle.say(Said(message="again"))
    assert ear.of(ResponseDone)[0].message == "Before: two"
    assert [record.turn for record in await house.store.read(OWN.key(fresh))] == [1, 2, 3]
    assert await house.store.read(OWN.key("old")) == before
    assert await rows(house) == [fresh, "old"]


async def test_a_fork_of_a_fork_of_a_users_session_is_theirs(house: House) -> None:
    house.pod("p1")
    await talk(house, "old", "one", "two", user="u-17")
    first = await house.service.kept.fork(U17, "old", None)
    await talk(house, first, "three", user="u-17")
    second = await house.service.kept.fork(U17, first, None)
    _, ear = await house.attach(second, user="u-17")
    assert ear.of(SessionCreated)[0].head == 6
    with pytest.raises(NotFound):
        await house.service.kept.fork(OWN, second, None)


@pytest.mark.parametrize(
    ("at_seq", "code", "hint"),
    [
        (0, "nothing_to_fork", ""),
        (1, "at_seq_inside_a_turn", "Fork at 2,"),
        (3, "at_seq_inside_a_turn", "Fork at 2 or 4,"),
        (8, "at_seq_too_high", ""),
    ],
)
async def test_a_fork_stands_where_a_turn_ends(house: House, at_seq: int, code: str, hint: str) -> None:
    house.pod("p1")
    await talk(house, "old", "one", "two", "three")
    with pytest.raises(BadRequest) as raised:
        await house.service.kept.fork(OWN, "old", at_seq)
    assert (raised.value.code, raised.value.hint.startswith(hint)) == (code, True)
    assert await rows(house) == ["old"]


async def test_a_fork_before_an_amend_has_the_whole_answer_and_after_it_what_was_heard(house: House) -> None:
    house.pod("p1")
    handle, ear = await talk(house, "old", "one")
    await handle.cancel(ear.of(ResponseDone)[0].response_id, HeardPart(chars=3))
    whole, heard = [await house.service.kept.fork(OWN, "old", at) for at in (2, 3)]
    for fresh, reply in ((whole, "You said one."), (heard, "You")):
        log = await house.store.read(OWN.key(fresh))
        fold = SessionFold.of("x", 99, log)
        assert (fold.past[-1].reply, fold.amends) == (reply, int(isinstance(log[-1], Amend)))
        await talk(house, fresh, "go on")


async def test_every_end_of_a_record_of_a_long_session_can_be_forked(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach("old")
    for number in range(20):
        await handle.say(Said(message=str(number)))
        if number % 3 == 0:
            await handle.cancel(ear.of(ResponseDone)[-1].response_id, HeardPart(chars=number % 5))
    log = await house.store.read(OWN.key("old"))
    for count, record in enumerate(log, 1):
        fresh = await house.service.kept.fork(OWN, "old", last_seq(record))
        assert await house.store.read(OWN.key(fresh)) == log[:count]


async def test_a_log_without_its_begin_is_not_forked_as_if_it_were_whole(house: House) -> None:
    house.pod("p1")
    await talk(house, "old", "one", "two", "three")
    del house.store.shelf.logs[OWN.key("old")][0]
    with pytest.raises(Conflict) as raised:
        await house.service.kept.fork(OWN, "old", None)
    assert raised.value.code == "log_trimmed"
    assert await rows(house) == ["old"]
    lines = [line async for line in house.service.kept.export("acme", OWN, "old")]
    assert isinstance(lines[-1], ExportError)
    assert lines[-1].code == "log_trimmed"


# ── export ──────────────────────────────────────────────────────────────────────────


async def exported(house: House, whose: Whose, sid: str | None = None) -> list[Line]:
    return [line async for line in house.service.kept.export("acme", whose, sid)]


async def test_an_export_has_all_of_a_users_sessions_and_says_that_it_is_whole(house: House) -> None:
    house.pod("p1")
    await talk(house, "a", "one", "two", user="u-17")
    await talk(house, "b", "three", user="u-17")
    await talk(house, "own", "not theirs")
    lines = await exported(house, U17)
    assert isinstance(lines[0], ExportBegin)
    assert (lines[0].v, lines[0].user, lines[-1]) == (1, "u-17", ExportEnd(sessions=2, records=3))
    turns = [line for line in lines if isinstance(line, ExportTurn)]
    assert [(turn.session_id, turn.input) for turn in turns] == [("b", "three"), ("a", "one"), ("a", "two")]
    with pytest.raises(NotFound):
        await exported(house, U17, "own")


# ── forgetting ──────────────────────────────────────────────────────────────────────


def forgotten(ear: Ear) -> list[str]:
    return [event.error.code for event in ear.of(Error)]


async def test_what_is_forgotten_is_gone_and_who_listens_is_told(house: House) -> None:
    house.pod("p1")
    _, ear = await talk(house, "s", "a secret")
    receipt = await house.service.kept.forget(OWN, "s")
    assert forgotten(ear) == ["session_forgotten"]
    assert (receipt.sessions, receipt.deleted, receipt.session_id) == (1, {"records": 1}, "s")
    assert "secret" not in repr(house.store.shelf)
    assert await rows(house) == []
    with pytest.raises(NotFound):
        await house.service.kept.details(OWN, "s")
    with pytest.raises(NotFound):
        await house.service.kept.fork(OWN, "s", None)
    assert await house.service.kept.receipt(ACME.uid, receipt.receipt) == receipt
    for tenant, user in ((EVIL.uid, ""), (ACME.uid, "u-17")):
        with pytest.raises(NotFound):
            await house.service.kept.receipt(tenant, receipt.receipt, user)


async def test_asked_again_it_is_the_same_receipt_and_what_never_was_is_not_found(house: House) -> None:
    house.pod("p1")
    await talk(house, "s", "one")
    first = await house.service.kept.forget(OWN, "s")
    house.clock.now_ms += 1000
    assert await house.service.kept.forget(OWN, "s") == first
    with pytest.raises(NotFound):
        await house.service.kept.forget(OWN, "never")
    await talk(house, "s", "two")
    assert (await house.service.kept.forget(OWN, "s")).receipt != first.receipt


async def test_the_same_id_begins_anew_and_knows_nothing(house: House) -> None:
    house.pod("p1")
    handle, _ = await talk(house, "s", "a secret")
    await house.service.kept.forget(OWN, "s")
    handle.detach()
    again, ear = await house.attach("s")
    (created,) = ear.of(SessionCreated)
    assert (created.head, created.version, created.greeting) == (0, 0, "Meow.")
    await again.say(Said(message="again"))
    assert "secret" not in ear.of(ResponseDone)[0].message
    (record,) = await house.store.read(OWN.key("s"))
    assert (record.turn, record.seq_first) == (1, 1)
    assert await rows(house) == ["s"]


async def test_no_pod_goes_on_with_a_state_of_before(house: House) -> None:
    """Versions begin anew: another gateway may believe that a pod holds one of the same number."""
    house.pod("p1")
    handle, _ = await talk(house, "s", "one")
    other = House(house.tables, house.store.shelf, house.dialer)
    await Forgetting(other.store, other.clock, lambda key: None).session(OWN, "s")
    fresh, _ = await other.store.open(OWN.key("s"))
    await other.store.commit(OWN.key("s"), replace(another_life(), log_id=fresh.log_id, epoch=fresh.epoch))
    handle.detach()
    house.service._live.clear()
    await talk(house, "s", "two")
    pod = house.dialer.pods["p1"]
    assert pod.starts()[-1].state == {"turns": 41}, "not what it held under that number"


def another_life() -> TurnRecord:
    """A first turn of another life, after which the state has the version that it had before."""
    return TurnRecord(
        log_id="", epoch=0, turn=1, seq_first=1, seq_count=2, version=1, now_ms=1, at_ms=1, revision="",
        response_id="r1", input="x", reply="y", patch=(PatchOp("incr", "/turns", 41),),
    )  # fmt: skip


async def test_a_turn_that_runs_meanwhile_is_not_kept(house: House) -> None:
    house.pod("p1")
    slow = house.slow_model()
    handle, ear = await house.attach("s")
    turn = asyncio.create_task(handle.say(Said(message="a secret")))
    await house.until(lambda: bool(slow.asked))
    await house.service.kept.forget(OWN, "s")
    slow.pieces.put_nowait("of course")
    slow.pieces.put_nowait(END)
    with pytest.raises(Conflict):
        await turn
    assert forgotten(ear) == ["session_forgotten"]
    await asyncio.sleep(0)
    assert await house.store.read(OWN.key("s")) == []
    assert "secret" not in repr(house.store.shelf.heads)


async def test_what_was_forgotten_while_it_was_read_is_not_held(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.pod("p1")
    handle, _ = await talk(house, "s", "a secret")
    handle.detach()
    house.service._live.clear()
    opened, go_on = asyncio.Event(), asyncio.Event()
    real = house.store.open

    async def slowly(*arguments: Any) -> Any:
        found = await real(*arguments)
        opened.set()
        await go_on.wait()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(house.store, "open", slowly)
        coming = asyncio.create_task(house.attach("s"))
        await opened.wait()
        await house.service.kept.forget(OWN, "s")
        go_on.set()
        with pytest.raises(Conflict):
            await coming
    assert [live.fold for live in house.service._live.values()] == [None]
    _, ear = await house.attach("s")
    assert ear.of(SessionCreated)[0].head == 0


async def test_an_owner_that_was_not_told_is_refused_and_writes_nothing_again(house: House) -> None:
    """As after a partition: only the store knows. What the owner remembers of its newest turns stays its own."""
    house.pod("p1")
    handle, ear = await talk(house, "s", "a secret", "another")
    await Forgetting(house.store, house.clock, lambda key: None).session(OWN, "s")
    with pytest.raises(Conflict) as raised:
        await handle.say(Said(message="third"))
    assert raised.value.code == "superseded"
    assert await house.store.read(OWN.key("s")) == []
    await handle.say(Said(message="fourth"))
    assert forgotten(ear) == ["session_forgotten"]
    assert [getattr(record, "input", "") for record in await house.store.read(OWN.key("s"))] == ["fourth"]
    assert await rows(house) == ["s"]


async def test_all_of_a_user_goes_and_nothing_of_anybody_else(house: House) -> None:
    house.pod("p1")
    for number in range(10):
        await talk(house, f"s{number}", "a secret", user="u-17")
    await talk(house, "s0", "kept", user="u-18")
    await talk(house, "s0", "kept")
    place = Shelves()
    house.service.kept.places = (place,)
    receipt = await house.service.kept.forget_user(U17)
    assert (receipt.sessions, receipt.user, receipt.session_id) == (10, "u-17", "")
    assert receipt.deleted == {"records": 10, "segments": 10, "memories": 1}
    assert "secret" not in repr(house.store.shelf)
    assert await rows(house, None) == ["s0", "s0"]
    again = await house.service.kept.forget_user(U17)
    assert (again.sessions, again.receipt != receipt.receipt) == (0, True)


@dataclass
class Shelves:
    """Another place where sessions and users leave something. Its `fails`-th deletion ends in the middle."""

    fails: int = 0
    calls: int = 0
    names: set[str] = field(default_factory=set)

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        self.calls += 1
        if self.calls == self.fails:
            raise Unavailable("away", code="state_unavailable")
        self.names.add(subject.session_id)
        kind = "segments" if subject.session_id else "memories"
        return Gone(receipt, {kind: 1}, (f"{kind}/{subject.key}",))


class Breaking(MemorySessionStore):
    """A store whose n-th step of deleting does not come through, or whose answer is lost."""

    fails = 0
    after = False
    steps = 0

    async def _step(self, work: Any) -> Any:
        self.steps += 1
        if self.steps == self.fails and not self.after:
            work.close()
            raise Unavailable("away", code="state_unavailable")
        done = await work
        if self.steps == self.fails:
            raise Unavailable("the answer was lost", code="state_unavailable")
        return done

    async def forget(self, key: str, receipt: str) -> Gone | None:
        return await self._step(super().forget(key, receipt))  # type: ignore[no-any-return]

    async def delist(self, whose: Whose, session_id: str) -> None:
        await self._step(super().delist(whose, session_id))

    async def keep_receipt(self, receipt: str, body: bytes) -> None:
        await self._step(super().keep_receipt(receipt, body))


@given(fails=st.integers(1, 12), after=st.booleans(), shelf_fails=st.integers(0, 5), sessions=st.integers(1, 4))
def test_a_deletion_that_ended_in_the_middle_is_finished_by_the_next(
    fails: int, after: bool, shelf_fails: int, sessions: int
) -> None:
    async def run() -> None:
        store = Breaking()
        for number in range(sessions):
            key = U17.key(f"s{number}")
            await store.open(key)
            store.shelf.logs[key] = [{b"body": b"a secret"}]
            store.shelf.heads[key] = store.shelf.heads[key].__class__("log", 1, 1, 2, 1, "cat-1")
            await store.enlist(U17, f"s{number}", number)
        told: list[str] = []
        place = Shelves(fails=shelf_fails)
        forgetting = Forgetting(store, lambda: 1, told.append, (place,))
        store.fails, store.after = fails, after
        for _ in range(3):  # each of the two fails once at most
            try:
                await forgetting.user(U17)
                break
            except RolehostError:
                continue
        assert "secret" not in repr(store.shelf)
        assert await store.rows(ACME.uid, "cat", None, None, 99) == []
        assert place.names == {"", *(f"s{number}" for number in range(sessions))}
        assert {U17.key(f"s{number}") for number in range(sessions)} <= set(told)

    asyncio.run(run())


async def test_a_user_who_begins_sessions_without_end_is_told_of(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.sessions.forgetting.MAX_ROUNDS", 3)
    number = 0

    def again(_: str) -> None:
        nonlocal number
        number += 1
        row = Row("u-17", f"s{number}", 1)
        house.store.shelf.books.rows[ACME.uid, "cat"][row.member] = row

    await house.store.enlist(U17, "s0", 1)
    with pytest.raises(Conflict) as raised:
        await Forgetting(house.store, house.clock, again).user(U17)
    assert (raised.value.code, raised.value.retryable) == ("forget_unfinished", True)
