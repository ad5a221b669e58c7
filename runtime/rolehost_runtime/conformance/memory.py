"""What any MemoryStore must do. Its law is `rolehost_runtime.plugins.memory.kept`: the bytes that are stored are its."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rolehost_runtime.core.memory.atoms import MOST_BYTES, MOST_FIELDS, atom_id
from rolehost_runtime.plugins.memory import (
    Atom,
    Changes,
    MemoryFull,
    MemoryStore,
    Stored,
    atoms_of,
    kept,
    mark_of,
    marked,
    version_of,
)

ANN, ANN_AGAIN, BEN, ALONE = "ann:s1", "ann:s2", "ben:s1", "alone"
"""Keys of sessions: two of one person, one of another, and one that names no person."""


class MemoryStoreConformance:
    """Override `make`: a store with nothing in it. Or `serving`, where more has to be set up."""

    pytestmark = pytest.mark.asyncio

    def make(self) -> MemoryStore:
        raise NotImplementedError("return your MemoryStore, with nothing in it")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[MemoryStore]:
        made = self.make()
        try:
            yield made
        finally:
            if (close := getattr(made, "close", None)) is not None:
                await close()

    async def test_nothing_is_kept_of_who_never_came(self) -> None:
        async with self.serving() as store:
            assert dict(await store.memories(ANN, {})) == {}
            assert await store.drop_memories(ANN) == 0

    async def test_what_is_added_is_there(self) -> None:
        async with self.serving() as store:
            assert await store.change_memories(ANN, Changes(added=(atom("tea"), atom("spiders")))) == 0
            stored = await store.memories(ANN, {})
        assert texts(stored) == ["spiders", "tea"]
        assert version_of(stored) > 0
        assert mark_of(stored)

    async def test_the_same_again_changes_nothing_that_is_remembered(self) -> None:
        async with self.serving() as store:
            changes = Changes(added=(atom("tea"),), confirmed=(name("tea"),), at_ms=5)
            await store.change_memories(ANN, changes)
            before = facts(await store.memories(ANN, {}))
            await store.change_memories(ANN, changes)
            await store.change_memories(ANN, Changes(confirmed=(name("tea"),), at_ms=9))
            assert facts(await store.memories(ANN, {})) == before, "the first time stands"

    async def test_all_sessions_of_a_person_share_it_and_nobody_elses_do(self) -> None:
        async with self.serving() as store:
            for key in (ANN, ANN_AGAIN, BEN, ALONE):
                await store.change_memories(key, Changes(added=(atom(f"from {key}"),)))
            assert texts(await store.memories("ann:other", {})) == [f"from {ANN}", f"from {ANN_AGAIN}"]
            assert texts(await store.memories(BEN, {})) == [f"from {BEN}"]
            assert texts(await store.memories(ALONE, {})) == [f"from {ALONE}"]

    async def test_a_copy_is_known_by_its_version_and_by_what_made_it(self) -> None:
        async with self.serving() as store:
            await store.change_memories(ANN, Changes(added=(atom("tea"),)))
            known = await store.memories(ANN, {})
            assert await store.memories(ANN, known) is known
            assert facts(await store.memories(ANN, {**known, b"!": b"another"})) == facts(known)
            await store.change_memories(ANN_AGAIN, Changes(added=(atom("spiders"),)))
            newer = await store.memories(ANN, known)
        assert texts(newer) == ["spiders", "tea"], "what another session changed is seen at once"
        assert version_of(newer) > version_of(known)

    async def test_what_is_forgotten_stays_so_whatever_is_written_again(self) -> None:
        async with self.serving() as store:
            await store.change_memories(ANN, Changes(added=(atom("tea"), atom("spiders"))))
            assert await store.change_memories(ANN, Changes(forgotten=(name("tea"), "nobody"), at_ms=7)) == 1
            assert await store.change_memories(ANN, Changes(forgotten=(name("tea"),), at_ms=9)) == 0
            await store.change_memories(ANN, Changes(added=(atom("tea"),)))
            stored = await store.memories(ANN, {})
        assert texts(stored) == ["spiders"]
        assert marked(stored, b"x")[name("tea")] == 7

    async def test_what_was_never_there_may_be_forgotten_before_it_comes(self) -> None:
        async with self.serving() as store:
            await store.change_memories(ANN, Changes(forgotten=(name("tea"),), at_ms=5))
            await store.change_memories(ANN, Changes(added=(atom("tea"),)))
            assert texts(await store.memories(ANN, {})) == []

    async def test_confirming_is_said_of_what_is_there(self) -> None:
        async with self.serving() as store:
            await store.change_memories(ANN, Changes(added=(atom("tea"),)))
            await store.change_memories(ANN, Changes(confirmed=(name("tea"), "nobody"), at_ms=5))
            assert marked(await store.memories(ANN, {}), b"c") == {name("tea"): 5}

    async def test_what_is_dropped_leaves_no_trace(self) -> None:
        async with self.serving() as store:
            await store.change_memories(ANN, Changes(added=(atom("tea"), atom("spiders"))))
            await store.change_memories(ANN, Changes(confirmed=(name("tea"),), forgotten=(name("spiders"),), at_ms=5))
            swept = Changes(dropped=(name("tea"),), traces=(name("spiders"),))
            assert await store.change_memories(ANN, swept) == 1
            assert facts(await store.memories(ANN, {})) == {}

    async def test_a_partition_is_dropped_whole(self) -> None:
        async with self.serving() as store:
            await store.change_memories(ANN, Changes(added=(atom("tea"), atom("spiders"))))
            await store.change_memories(BEN, Changes(added=(atom("tea"),)))
            assert await store.drop_memories(ANN_AGAIN) == 2
            left = await store.memories(ANN, {})
            assert not any(key[:1] in (b"a", b"c") for key in left), "names of what was forgotten may stay, no more"
            assert texts(await store.memories(BEN, {})) == ["tea"]

    async def test_changes_of_several_at_once_are_all_there(self) -> None:
        async with self.serving() as store:
            many = [f"text {number}" for number in range(16)]
            await asyncio.gather(*(store.change_memories(ANN, Changes(added=(atom(text),))) for text in many))
            assert texts(await store.memories(ANN, {})) == sorted(many)

    @pytest.mark.parametrize("by", ["fields", "bytes"])
    async def test_a_full_partition_refuses_a_change_whole(self, by: str) -> None:
        async with self.serving() as store:
            size, many = (1, MOST_FIELDS - 4) if by == "fields" else (2000, MOST_BYTES // 2150)
            atoms = tuple(Atom(id=f"a{number:04}", text="x" * size, at_ms=1) for number in range(many))
            for start in range(0, many, 500):
                await store.change_memories(ANN, Changes(added=atoms[start : start + 500]))
            before = await store.memories(ANN, {})
            with pytest.raises(MemoryFull):
                await store.change_memories(
                    ANN, Changes(added=tuple(atom(c * size) for c in "abcdefghijklmnopqrstuvwx"))
                )
            assert await store.memories(ANN, before) is before
            await store.change_memories(ANN, Changes(dropped=tuple(one.id for one in atoms[:30])))
            await store.change_memories(ANN, Changes(added=(atom("tea"),)))
            assert "tea" in texts(await store.memories(ANN, {}))

    @pytest.mark.parametrize("seed", range(8))
    async def test_any_changes_come_to_what_the_law_says(self, seed: int) -> None:
        dice, law = random.Random(seed), dict[bytes, bytes]()  # noqa: S311 - cases, no secret
        async with self.serving() as store:
            for step in range(40):
                changes = Changes(
                    added=tuple(atom(text) for text in dice.sample("abcdef", dice.randint(0, 2))),
                    forgotten=_some(dice, 1),
                    confirmed=_some(dice, 2),
                    dropped=_some(dice, 1),
                    traces=_some(dice, 1),
                    moved=tuple((one, dice.choice((b"", b"3"))) for one in _some(dice, 1)),
                    at_ms=step,
                )
                law = dict(kept(law, changes, "law"))
                await store.change_memories(ANN, changes)
                assert facts(await store.memories(ANN, {})) == facts(law)


def name(text: str) -> str:
    return atom_id(text, 1, 0)


def atom(text: str) -> Atom:
    return Atom(id=name(text), text=text, at_ms=1, session_id="s", turn=1, revision="cat-1")


def texts(stored: Stored) -> list[str]:
    return sorted(one.text for one in atoms_of(stored))


def facts(stored: Stored) -> dict[bytes, bytes]:
    """What is said of atoms, without what is said of the copy."""
    return {key: value for key, value in stored.items() if key[:1] in (b"a", b"c", b"x")}


def _some(dice: random.Random, most: int) -> tuple[str, ...]:
    return tuple(name(text) for text in dice.sample("abcdef", dice.randint(0, most)))
