"""Memories that are found by what they mean: exact over one block, and only ever a help."""

import asyncio
import random
from array import array
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import ACME, EVIL

from rolehost_api.crd.role import MemoryEmbeddings, MemorySpec, RoleTemplate
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import Recall
from rolehost_runtime.core.memory.atoms import Atom, Changes
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.kept import Whose as Owner
from rolehost_runtime.gateway.sessions import arena as arena_module
from rolehost_runtime.gateway.sessions.arena import Arena, Hot
from rolehost_runtime.gateway.sessions.meanings import AT_ONCE, Meanings, Whose
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.sessions.remembering import Remembering
from rolehost_runtime.gateway.tables import Tenant

BY = MemoryEmbeddings(backend="vectors")
MEANINGS = {"spider": (1.0, 0.0, 0.1), "arachnid": (0.95, 0.0, 0.1), "tea": (0.0, 1.0, 0.0), "dragon": (0.0, 0.0, 1.0)}


class Embedder:
    """Implements ports.Embedder: a text means what its words mean."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[str]]] = []
        self.harm: Callable[[], None] = lambda: None
        self.short = 0

    async def embed(
        self, tenant: Tenant, backend: str, texts: Sequence[str], *, model: str = "", session: str = ""
    ) -> "list[array[float]]":
        self.asked.append((tenant.name, backend, list(texts)))
        self.harm()
        await asyncio.sleep(0)
        return [self._one(text) for text in texts][: len(texts) - self.short]

    @staticmethod
    def _one(text: str) -> "array[float]":
        parts = [np.array(vector) for word, vector in MEANINGS.items() if word in text]
        return array("f", sum(parts, np.zeros(3)))


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


TEXTS = {"a": "Ann fears spiders", "b": "Ann likes tea", "c": "a dragon"}


async def test_what_means_the_same_in_other_words_is_near(embedder: Embedder) -> None:
    meanings = Meanings(embedder)
    whose = Whose(ACME, "p", BY)
    assert await meanings.nearest(whose, TEXTS, "an arachnid", 2) == ["a"]
    assert await meanings.nearest(whose, TEXTS, "tea with a dragon", 2) == ["b", "c"]
    assert [len(texts) for _, _, texts in embedder.asked] == [4, 1], "what is known already is not asked again"
    assert await meanings.nearest(whose, {"b": TEXTS["b"]}, "an arachnid", 2) == [], "what is forgotten is not found"


async def test_nobody_is_asked_where_no_backend_is_named(embedder: Embedder) -> None:
    assert await Meanings(embedder).nearest(Whose(ACME, "p", MemoryEmbeddings()), TEXTS, "tea", 2) == []
    assert await Meanings(None).nearest(Whose(ACME, "p", BY), TEXTS, "tea", 2) == []
    assert await Meanings(embedder).nearest(Whose(ACME, "p", BY), {}, "tea", 2) == []
    assert embedder.asked == []


async def test_what_one_tenant_knows_another_never_finds(embedder: Embedder) -> None:
    meanings = Meanings(embedder)
    await meanings.nearest(Whose(ACME, "p", BY), TEXTS, "tea", 2)
    assert await meanings.nearest(Whose(EVIL, "p", BY), {"z": "a dragon"}, "tea", 2) == []
    assert all(len({tenant}) == 1 for tenant, _, _ in embedder.asked)


@pytest.mark.parametrize("harm", ["away", "short", "slow"])
async def test_a_server_that_fails_leaves_words(embedder: Embedder, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise Unavailable("no", code="model_unavailable")

    if harm == "away":
        embedder.harm = away
    elif harm == "short":
        embedder.short = 1
    else:
        monkeypatch.setattr("rolehost_runtime.gateway.sessions.meanings.WAIT_SECONDS", 0)
    store = MemorySessionStore()
    key = Owner(ACME.uid, "cat", "u-17").key("s")
    atoms = tuple(Atom(id=name, text=text, at_ms=1) for name, text in TEXTS.items())
    await store.change_memories(key, Changes(added=atoms))
    template = RoleTemplate(memory=MemorySpec(embeddings=BY))
    memories = Memories(store, lambda: 2)
    found = await Remembering(memories, Meanings(embedder), ACME, key, template, 2).recall(
        Recall(index=0, query="which tea?")
    )
    assert [one.text for one in found.atoms] == ["Ann likes tea"]


async def test_a_recall_fuses_words_and_meaning(embedder: Embedder) -> None:
    store = MemorySessionStore()
    key = Owner(ACME.uid, "cat", "u-17").key("s")
    atoms = tuple(Atom(id=name, text=text, at_ms=1) for name, text in TEXTS.items())
    await store.change_memories(key, Changes(added=atoms))
    template = RoleTemplate(memory=MemorySpec(embeddings=BY))
    remembering = Remembering(Memories(store, lambda: 2), Meanings(embedder), ACME, key, template, 2)
    found = await remembering.recall(Recall(index=0, query="arachnids, and what Ann likes", k=2))
    assert [one.text for one in found.atoms] == ["Ann fears spiders", "Ann likes tea"]
    gone = await remembering.recall(Recall(index=0, query="arachnids", k=2, to_forget=True))
    assert gone.error == "permission_denied", "by default no Role may forget"


async def test_what_is_much_is_learnt_behind_a_recalls_back(embedder: Embedder) -> None:
    meanings, whose = Meanings(embedder), Whose(ACME, "p", BY)
    many = {f"n{n}": f"number {n}" for n in range(3 * AT_ONCE)} | TEXTS
    assert await meanings.nearest(whose, many, "an arachnid", 2) == []
    await meanings.idle()
    assert await meanings.nearest(whose, many, "an arachnid", 2) == ["a"]
    assert max(len(texts) for _, _, texts in embedder.asked) <= 64


async def test_all_of_them_together_are_bounded(embedder: Embedder) -> None:
    meanings = Meanings(embedder, max_bytes=2_000)
    for number in range(20):
        await meanings.nearest(Whose(ACME, f"p{number}", BY), TEXTS, "tea", 2)
    assert meanings.weight <= 2_000
    assert 0 < len(meanings._arenas) < 20


# ── the block ───────────────────────────────────────────────────────────────────────


def test_rows_of_a_byte_find_what_exact_numbers_find() -> None:
    """recall@1, of 1,000 questions to 1,000 texts of 384 numbers."""
    numbers = np.random.default_rng(7)
    texts = numbers.normal(size=(1000, 384)).astype(np.float32)
    asked = texts[numbers.integers(0, 1000, 1000)] + 0.9 * numbers.normal(size=(1000, 384)).astype(np.float32)
    arena = Arena()
    arena.add([str(n) for n in range(1000)], list(texts))
    whole = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    exact = (whole @ asked.T).argmax(axis=0)
    found = [arena.nearest(one, 1) for one in asked]
    assert sum([str(best)] == one for best, one in zip(exact, found, strict=True)) >= 990
    assert arena.nbytes == 1000 * (384 + 4)


@given(
    st.lists(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=1, max_size=8), st.integers(1, 5)
)
def test_the_nearest_are_in_order_and_near(vectors: list[list[float]], k: int) -> None:
    arena = Arena()
    names = [f"n{n}" for n in range(len(vectors))]
    arena.add(names, vectors)
    found = arena.nearest(vectors[0], k)
    assert len(found) <= k
    assert len(set(found)) == len(found)
    assert not any(vectors[0]) or k < len(vectors) or names[0] in found


@pytest.mark.parametrize("odd", [[float("nan")] * 3, [0.0] * 3, [float("inf"), 0, 0], [1.0] * 4])
def test_a_vector_that_is_none_is_near_nothing(odd: list[float]) -> None:
    arena = Arena()
    arena.add(["a", "b"], [[1, 0, 0], odd])
    assert arena.nearest([1, 0, 0], 5) == ["a"]
    assert arena.nearest(odd, 5) == []


def test_another_model_begins_anew() -> None:
    arena = Arena()
    arena.add(["a"], [[1, 0, 0]])
    arena.add(["b"], [[1, 0]])
    assert (set(arena.names), arena.nearest([1, 0], 5)) == ({"b"}, ["b"])
    arena.keep(frozenset())
    assert (len(arena), arena.nearest([1, 0], 5)) == (0, [])


def test_what_goes_leaves_the_others_in_their_places() -> None:
    arena, order = Arena(), random.Random(7)
    arena.add([str(n) for n in range(50)], [[np.sin(n), np.cos(n), 0.1] for n in range(50)])
    left = frozenset(order.sample([str(n) for n in range(50)], 20))
    arena.keep(left)
    assert arena.names == left
    for name in left:
        assert name in arena.nearest([np.sin(int(name)), np.cos(int(name)), 0.1], 3)


# ── bytes, and whole numbers beside them ────────────────────────────────────────────

MANY = np.random.default_rng(3).normal(size=(40, 32)).astype(np.float32)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_whole_numbers_are_bounded_and_never_those_of_rows_that_are_gone(steps: list[tuple[int, bool]]) -> None:
    """Whichever arenas are searched in whichever order, with rows let go of in between."""
    a_whole, usual = 40 * 32 * 4, arena_module.HOT
    hot = arena_module.HOT = Hot(max_bytes=2 * a_whole)
    try:
        arenas = [Arena() for _ in range(4)]
        for arena in arenas:
            arena.add([str(n) for n in range(40)], list(MANY[:40]))
        for place, lets_go in steps:
            arena = arenas[place]
            if lets_go and len(arena) > 1:
                arena.keep(arena.names - {min(arena.names, key=int)})
            oldest = int(min(arena.names, key=int))
            assert arena.nearest(MANY[oldest], 1) == [str(oldest)]
            assert hot.nbytes == sum(one.whole.nbytes for one in arenas if one.whole is not None) <= 2 * a_whole
        del arena
        arenas.clear()
        assert hot.nbytes == 0, "what is let go of is let go of"
    finally:
        arena_module.HOT = usual


def test_a_question_is_scaled_as_it_comes() -> None:
    arena = Arena()
    arena.add(["a", "b"], [MANY[0], MANY[1]])
    assert [arena.nearest(MANY[1] * scale, 1) for scale in (1e-18, 1.0, 1e18)] == [["b"]] * 3
    assert arena.nearest([float("nan")] * 32, 1) == arena.nearest([0.0] * 32, 1) == []


async def test_two_tenants_with_the_same_texts_share_no_vector(embedder: Embedder) -> None:
    meanings = Meanings(embedder)
    for tenant in (ACME, EVIL):
        assert await meanings.nearest(Whose(tenant, "same", BY), TEXTS, "arachnid", 1) == ["a"]
    assert [name for name, _, _ in embedder.asked] == [ACME.name, EVIL.name]
