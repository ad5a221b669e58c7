"""What commits write into memory: one suite for Redis and for its fake. The stores alone: tests/contract/plugins."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from tests.contract.broker.test_contract_store import Stores, after

from rolehost_api.errors import Conflict
from rolehost_api.link.messages import PatchOp, Remember
from rolehost_runtime.core.memory.atoms import (
    MOST_BYTES,
    MOST_FIELDS,
    Atom,
    Changes,
    MemoryFull,
    Source,
    atoms_of,
    kept,
    made,
    mark_of,
    marked,
    version_of,
)
from rolehost_runtime.core.patch import StateTooLarge
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import Head, SessionStore, Shared


@pytest.fixture(params=["server", "cluster", "memory"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        shelf = Shelf()
        yield lambda owner="": MemorySessionStore(shelf, owner)
        return
    made: list[RedisSessionStore] = []

    def make(owner: str = "") -> SessionStore:
        made.append(RedisSessionStore.connect(request.getfixturevalue(request.param).url, owner=owner))
        return made[-1]

    yield make
    await made[0]._redis.everywhere("FLUSHALL")
    for store in made:
        await store.close()


def said(*texts: str) -> tuple[Remember, ...]:
    return tuple(Remember(text=text) for text in texts)


def remembering(
    head: Head, *texts: str, turn: int = 1, session: str = "s", forgotten: tuple[str, ...] = (), **changes: object
) -> TurnRecord:
    """A turn that remembers these texts."""
    source = Source(head.log_id, session, turn, "cat-1", 1_730_000_000_000 + turn)
    return after(
        head, turn, seq_first=2 * turn - 1, seq_count=2, version=0, patch=(),
        atoms=made(said(*texts), source), forgotten=forgotten, **changes,
    )  # fmt: skip


async def texts(store: SessionStore, key: str) -> list[str]:
    return sorted(atom.text for atom in atoms_of(await store.memories(key, {})))


async def test_a_turn_and_what_it_remembers_are_durable_together(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    record = remembering(head, "Ann fears spiders", "Ann likes tea")
    assert await store.commit("u:s", record) == Shared(memory=1)
    stored = await store.memories("u:s", {})
    assert (version_of(stored), mark_of(stored)) == (1, record.mark)
    assert sorted(atoms_of(stored), key=lambda atom: atom.id) == sorted(record.atoms, key=lambda atom: atom.id)
    assert stored == kept({}, record.memory, record.mark), "the bytes are those of the law"
    assert await store.read("u:s") == [record]


async def test_a_doubled_commit_changes_nothing(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    record = remembering(head, "Ann fears spiders")
    await store.commit("u:s", record)
    before = await store.memories("u:s", {})
    await store.commit("u:s", record)
    assert await store.memories("u:s", {}) == before


async def test_who_is_fenced_remembers_nothing(stores: Stores) -> None:
    old, new = stores("old"), stores("new")
    head, _ = await old.open("u:s")
    await new.open("u:s")
    with pytest.raises(Conflict):
        await old.commit("u:s", remembering(head, "Ann fears spiders"))
    assert await new.memories("u:s", {}) == {}


async def test_all_sessions_of_a_person_share_it_and_nobody_elses_do(stores: Stores) -> None:
    store = stores()
    for key in ("u:s1", "u:s2", "v:s1", "k"):
        head, _ = await store.open(key)
        await store.commit(key, remembering(head, f"from {key}", session=key))
    assert await texts(store, "u:other") == ["from u:s1", "from u:s2"]
    assert await texts(store, "v:s1") == ["from v:s1"]
    assert await texts(store, "k") == ["from k"]


async def test_one_step_holds_a_turn_its_state_and_its_memory(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    patch = (PatchOp("incr", "/dragons", 1),)
    record = replace(remembering(head, "a dragon"), user_patch=patch, seq_count=3)
    assert await store.commit("u:s", record) == Shared(version=1, memory=1)
    again = await store.commit("u:s", record)
    assert again is not None
    assert (again.version, again.memory) == (1, 0), "which version it was nobody knows any more"
    assert await texts(store, "u:s") == ["a dragon"]


async def test_state_that_is_refused_takes_memory_with_it(stores: Stores) -> None:
    store = stores()
    store.user_bytes = 64  # type: ignore[attr-defined]
    head, _ = await store.open("u:s")
    record = replace(remembering(head, "a"), user_patch=(PatchOp("add", "/long", "x" * 99),), seq_count=3)
    with pytest.raises(StateTooLarge):
        await store.commit("u:s", record)
    assert await store.memories("u:s", {}) == {}
    assert await store.read("u:s") == []


async def test_what_is_forgotten_stays_so_whatever_is_written_again(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    record = remembering(head, "Ann fears spiders", "Ann likes tea")
    await store.commit("u:s", record)
    [spiders] = [atom.id for atom in record.atoms if "spiders" in atom.text]
    await store.commit("u:s", remembering(head, turn=2, forgotten=(spiders,)))
    assert await texts(store, "u:s") == ["Ann likes tea"]
    other, _ = await store.open("u:again")
    await store.commit("u:again", replace(remembering(other), atoms=record.atoms))
    stored = await store.memories("u:s", {})
    assert [atom.text for atom in atoms_of(stored)] == ["Ann likes tea"]
    assert marked(stored, b"x") == {spiders: 1_730_000_000_002}


@pytest.mark.parametrize("by", ["fields", "bytes"])
async def test_a_full_partition_refuses_the_whole_turn_until_it_is_tidied(stores: Stores, by: str) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    if by == "fields":
        size, many = 1, MOST_FIELDS - 4
    else:
        many = 200
        empty = int(kept({}, Changes(added=(Atom(id="a0000", text="x" * 2000, at_ms=1),)), "m")[b"#"]) - 2000
        size = MOST_BYTES // many - empty
    names = [f"a{number:04}" for number in range(many)]
    for start in range(0, many, 500):
        atoms = tuple(Atom(id=name, text="x" * size, at_ms=1) for name in names[start : start + 500])
        await store.change_memories("u:s", Changes(added=atoms))
    record = remembering(head, *("one", "two") if by == "fields" else ("y" * 2000, "z" * 2000, "w" * 2000, "v" * 2000))
    before = await store.memories("u:s", {})
    with pytest.raises(MemoryFull):
        await store.commit("u:s", record)
    with pytest.raises(MemoryFull):
        await store.change_memories("u:s", Changes(added=record.atoms))
    assert await store.memories("u:s", before) is before
    assert await store.read("u:s") == []
    await store.change_memories("u:s", Changes(dropped=tuple(names[:20])))
    assert await store.commit("u:s", record) == Shared(memory=version_of(before) + 2)


async def test_a_sessions_own_memory_goes_with_it_and_a_persons_stays(stores: Stores) -> None:
    store = stores()
    for key in ("k", "u:s"):
        head, _ = await store.open(key)
        await store.commit(key, remembering(head, "one", "two"))
        gone = await store.forget(key, "f-1")
        assert gone is not None
        assert gone.counts.get("memories", 0) == (2 if key == "k" else 0)
    assert await store.memories("k", {}) == {}
    assert await texts(store, "u:s") == ["one", "two"]
    assert await store.drop_memories("u:s") == 2
    assert await store.memories("u:s", {}) == {}


async def test_two_sessions_of_a_person_at_once(stores: Stores) -> None:
    store = stores()
    keys = [f"u:s{number}" for number in range(8)]
    heads = [(await store.open(key))[0] for key in keys]
    await asyncio.gather(
        *(store.commit(key, remembering(head, key, session=key)) for key, head in zip(keys, heads, strict=True))
    )
    stored = await store.memories("u:s0", {})
    assert (len(atoms_of(stored)), version_of(stored)) == (8, 8)
