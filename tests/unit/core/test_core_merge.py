"""User-scope state merges by the law: counters and sets in any order, the last word wins and no other is lost."""

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.merging import CASES, MAX_BYTES, Case

from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core import merge as law
from rolehost_runtime.core.merge import CatchUp, Place, Stored, catch_up, changes_of, difference, view_of
from rolehost_runtime.core.patch import InvalidPatch

BIG = 1 << 20


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_case_of_the_table(case: Case) -> None:
    stored: Stored = {}
    kept: list[tuple[int, str, int, Any]] = []
    *turns, last = case.turns
    for number, (base, patch) in enumerate([*turns, last]):
        if case.refused and number == len(turns):
            with pytest.raises(InvalidPatch) as raised:
                law.merge(stored, changes_of(patch), base=base, mark="m", max_bytes=MAX_BYTES)
            assert raised.value.code == case.refused
            break
        merged = law.merge(stored, changes_of(patch), base=base, mark=f"m{number}", max_bytes=MAX_BYTES)
        stored = merged.stored
        kept += [(merged.version, one.field, one.written, law._unpack(one.value)) for one in merged.overridden]
    assert (view_of(stored), law.version_of(stored)) == (case.view, case.version)
    assert (tuple(kept), [type(one[3]) for one in kept]) == (case.kept, [type(one[3]) for one in case.kept])


# ── any interleaving ────────────────────────────────────────────────────────────────

KINDS = {"count": "counter", "met": "set"}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, list[str], str | None]]:
    """Turns in the order of their commits: how many commits before it each had read, what it adds to the counter,
    what it does to which elements, what it says last."""
    return [
        (
            draw(st.integers(0, number)),
            draw(st.integers(-5, 5)),
            draw(st.lists(st.sampled_from("abc"), max_size=2, unique=True)),
            draw(st.none() | st.sampled_from(["calm", "wild", "sad"])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]


def played(history: list[tuple[int, int, list[str], str | None]]) -> tuple[Stored, list[Any], list[dict[str, Any]]]:
    """Commit every turn on what it had read; returns what is stored, all compensations, and the views in between."""
    states: list[Stored] = [{}]
    kept: list[Any] = []
    for base, by, toggled, said in history:
        read = view_of(states[base])
        before = {"count": read.get("count", 0), "met": read.get("met", {}), "mood": read.get("mood", "")}
        met = dict.fromkeys({*before["met"]} ^ {*toggled}, True)
        after = {"count": before["count"] + by, "met": met, "mood": before["mood"] if said is None else said}
        patch = difference(read, before, after, KINDS)
        merged = law.merge(states[-1], changes_of(patch), base=base, mark="m", max_bytes=BIG)
        kept += merged.overridden
        states.append(merged.stored)
    return states[-1], kept, [view_of(stored) for stored in states]


@given(histories())
@settings(max_examples=150, deadline=None)
def test_nothing_that_was_acknowledged_is_lost(history: list[tuple[int, int, list[str], str | None]]) -> None:
    stored, kept, views = played(history)
    view = view_of(stored)
    assert view.get("count", 0) == sum(by for _, by, _, _ in history)
    adds: dict[str, set[int]] = {}
    removed: set[tuple[str, int]] = set()
    for version, (base, _, toggled, _) in enumerate(history, 1):
        for one in toggled:
            if one in views[base].get("met", {}):
                removed |= {(one, tag) for tag in adds.get(one, ()) if tag <= base}
            else:
                adds.setdefault(one, set()).add(version)
    assert {*view.get("met", {})} == {
        one for one, tags in adds.items() if any((one, tag) not in removed for tag in tags)
    }
    words = [
        (version, said)
        for version, (base, _, _, said) in enumerate(history, 1)
        if said is not None and said != views[base].get("mood", "")
    ]
    for (version, said), (newer, over) in pairwise(words):
        seen, same = history[newer - 1][0] >= version, said == over
        assert seen or same or (version, said) in [(one.written, law._unpack(one.value)) for one in kept]
    if words:
        assert view["mood"] == words[-1][1]


@st.composite
def unordered(draw: st.DrawFn) -> tuple[list[tuple[int, tuple[PatchOp, ...]]], int]:
    """Changes of counters and sets by turns that all read the same three versions, and a seed to order them by."""
    element = st.sampled_from("abc")
    patch = st.tuples(
        st.integers(-9, 9).map(lambda by: PatchOp("incr", "/count", by)),
        element.map(lambda one: PatchOp("add", f"/met/{one}", True)),
        element.map(lambda one: PatchOp("remove", f"/gone/{one}")),
    )
    return draw(st.lists(st.tuples(st.integers(0, 3), patch), min_size=2, max_size=6)), draw(st.integers(0, 99))


@given(unordered())
@settings(max_examples=150, deadline=None)
def test_counters_and_sets_come_out_the_same_in_any_order(drawn: tuple[list[Any], int]) -> None:
    turns, seed = drawn
    begin: Stored = {}
    for number, one in enumerate("abc"):
        changes = changes_of([PatchOp("add", f"/gone/{one}", True), PatchOp("incr", "/count", 1)])
        begin = law.merge(begin, changes, base=number, mark="m", max_bytes=BIG).stored
    views = []
    shuffled = turns[:]
    random.Random(seed).shuffle(shuffled)
    for order in (turns, shuffled):
        stored = begin
        for base, patch in order:
            stored = law.merge(stored, changes_of(patch), base=base, mark="m", max_bytes=BIG).stored
        views.append(view_of(stored))
    assert views[0] == views[1]


# ── the rest ────────────────────────────────────────────────────────────────────────


def test_the_higher_snapshot_wins_whatever_followed_the_other() -> None:
    assert Place(42, 187) > Place(41, 923)
    assert Place(42, 187).version > Place(41, 923).version
    assert catch_up(Place(41, 923), Place(42, 187)) == catch_up(Place(42, 187), Place(41, 923)) == CatchUp(42, 0, 187)


@given(st.integers(0, 2**20), st.integers(0, 2**32 - 1))
def test_a_version_is_a_place_and_back(snapshot: int, offset: int) -> None:
    assert Place.of(Place(snapshot, offset).version) == Place(snapshot, offset)
    assert Place(snapshot, offset).version <= law.MAX_COUNT


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param([PatchOp("add", "/a/b/c", True)], id="too-deep"),
        pytest.param([PatchOp("add", "", {})], id="the-whole"),
        pytest.param([PatchOp("add", "/", 1)], id="no-name"),
        pytest.param([PatchOp("add", "/a~1b", 1)], id="a-slash-in-a-field"),
        pytest.param([PatchOp("add", "/" + "a" * 129, 1)], id="a-long-name"),
        pytest.param([PatchOp("add", "/a\ud800", 1)], id="half-a-pair"),
        pytest.param([PatchOp("add", "/a", "\ud800")], id="half-a-pair-in-a-value"),
        pytest.param([PatchOp("add", "/a/\ud800", True)], id="half-a-pair-in-an-element"),
        pytest.param([PatchOp("add", "/a/b", 1)], id="an-element-with-a-value"),
        pytest.param([PatchOp("incr", "/a/b", 1)], id="an-element-that-counts"),
        pytest.param([PatchOp("incr", "/a", 1.5)], id="not-whole"),
        pytest.param([PatchOp("incr", "/a", True)], id="not-a-number"),
        pytest.param([PatchOp("incr", "/a", 2**53)], id="too-much"),
        pytest.param([PatchOp("add", "/a", float("nan"))], id="nan"),
        pytest.param([PatchOp("add", "/a", 2**64)], id="over-64-bits"),
        pytest.param([PatchOp("incr", "/a", 1), PatchOp("incr", "/a", 1)], id="twice"),
        pytest.param([PatchOp("add", "/a/b", True), PatchOp("remove", "/a/b")], id="in-and-out"),
        pytest.param([PatchOp("add", "/a/b", True), PatchOp("replace", "/a", 1)], id="two-kinds"),
        pytest.param([PatchOp("incr", "/a", 1)] * 1001, id="too-many"),
    ],
)
def test_a_patch_that_says_anything_else_is_refused(patch: list[PatchOp]) -> None:
    with pytest.raises(InvalidPatch):
        changes_of(patch)


@pytest.mark.parametrize(
    "stored", [{b".a": b"x"}, {b".a": b"1 l\xc1"}, {b".a": b"1 cx"}, {b"+a/b": b"1"}, {b".\xff": b"1 s"}]
)
def test_what_cannot_be_read_is_said(stored: Stored) -> None:
    with pytest.raises(InvalidPatch):
        view_of(stored)


def test_a_default_is_written_only_once_it_changed_and_what_newer_code_keeps_stays() -> None:
    raw, before = {"new": 1}, {"dragons": 0, "met": {}, "mood": "calm"}
    assert difference(raw, before, before, {"dragons": "counter", "met": "set"}) == ()
    after = {"dragons": 0, "met": {}, "mood": "wild"}
    assert difference(raw, before, after, {}) == (PatchOp("add", "/mood", "wild"),)
