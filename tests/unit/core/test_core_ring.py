"""Laws of the ring: little moves, nobody holds too much, and everybody agrees, whatever came in what order."""

import doctest
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolehost_runtime.core import ring as ring_module
from rolehost_runtime.core import routes
from rolehost_runtime.core.ring import POINTS, Ring, bound, places_of
from rolehost_runtime.gateway.link import binder, placement, rings
from rolehost_runtime.gateway.link.placement import choose

KEYS = [f"session-{number}" for number in range(20_000)]
names = st.text(min_size=1, max_size=12)
members = st.lists(names, min_size=1, max_size=12, unique=True)


def homes(ring: Ring, keys: list[str] = KEYS) -> list[str | None]:
    return [ring.choose(key) for key in keys]


@pytest.mark.parametrize("module", [ring_module, routes, binder, placement, rings])
def test_worked_examples_hold(module: object) -> None:
    assert doctest.testmod(module).attempted > 0  # type: ignore[arg-type]
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("before", [1, 4, 10, 100])
def test_when_a_pod_joins_or_leaves_its_share_moves_and_nothing_else(before: int) -> None:
    ring = Ring(f"pod-{number}" for number in range(before))
    had = homes(ring)
    ring.add("one-more")
    has = homes(ring)
    moved = [(was, now) for was, now in zip(had, has, strict=True) if was != now]
    assert {now for _, now in moved} == {"one-more"}
    assert len(moved) / len(KEYS) <= 1 / (before + 1) + 0.01
    ring.remove("one-more")
    assert homes(ring) == had


def test_shares_are_even() -> None:
    counts = Counter(homes(Ring(f"pod-{number}" for number in range(10))))
    assert max(counts.values()) / (len(KEYS) / 10) < 1.12


@settings(max_examples=30, deadline=None)
@given(members, st.randoms(use_true_random=False))
def test_all_that_counts_is_who_is_there(there: list[str], random: Random) -> None:
    """Built at once, one after the other in any order, or after others came and went: the same ring, so every
    gateway places alike."""
    keys = KEYS[:50]
    at_once, shuffled = Ring(there, points=64), list(there)
    random.shuffle(shuffled)
    one_by_one, changed = Ring(points=64), Ring([*shuffled, "guest-1", "guest-2"], points=64)
    for member in shuffled:
        one_by_one.add(member)
    changed.remove("guest-1") if "guest-1" not in there else None
    changed.become(set(there))
    orders = [[list(ring.walk(key)) for key in keys] for ring in (at_once, one_by_one, changed)]
    assert orders[0] == orders[1] == orders[2]
    assert all(sorted(order) == sorted(there) for order in orders[0])
    assert at_once.nbytes == changed.nbytes == 12 * 64 * len(there)


@settings(max_examples=50, deadline=None)
@given(members.filter(lambda there: len(there) > 1), st.data())
def test_who_goes_gives_what_it_had_to_the_next_on_each_way_and_others_keep_theirs(
    there: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(there))
    ring, keys = Ring(there, points=64), KEYS[:80]
    ways = [list(ring.walk(key)) for key in keys]
    ring.remove(gone)
    assert [list(ring.walk(key)) for key in keys] == [[one for one in way if one != gone] for way in ways]


@given(st.integers(0, 10_000), st.integers(1, 200))
def test_there_is_always_a_member_below_the_bound(load: int, count: int) -> None:
    assert bound(load, count) * count > load
    assert bound(load, count) <= (load + 1) * 1.25 / count + 1


def test_two_members_at_one_place_stand_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "places_of", lambda member, count=POINTS: [1, 2, 2**64 - 1])
    rings_ = [Ring(["a", "b", "c"]), Ring(), Ring()]
    for ring, order in ((rings_[1], "cab"), (rings_[2], "bca")):
        for member in order:
            ring.add(member)
    for ring in rings_:
        assert list(ring.walk("x")) == ["a", "b", "c"]
        ring.remove("b")
        assert list(ring.walk("x")) == ["a", "c"]


def test_a_member_with_fewer_places_stands_at_the_first_of_them() -> None:
    assert len(set(places_of("pod"))) == POINTS


# ── sessions on pods ────────────────────────────────────────────────────────────────


@dataclass
class Pod:
    """Implements placement.Seat."""

    sessions: set[str] = field(default_factory=set)

    def has(self, session_key: str) -> bool:
        return session_key in self.sessions

    def occupied(self) -> int:
        return len(self.sessions)


class Town:
    """Sessions that come, speak and go, on pods that come, drain and go."""

    def __init__(self, pods: int, most: int = 10_000) -> None:
        self.pods = {f"pod-{number}": Pod() for number in range(pods)}
        self.draining: set[str] = set()
        self.most = most
        self.moved = 0

    def speak(self, key: str) -> Pod | None:
        seats = {uid: pod for uid, pod in self.pods.items() if uid not in self.draining}
        seat = choose(key, Ring(self.pods, points=64), seats, self.most)
        for pod in self.pods.values():
            if pod is not seat and seat is not None and key in pod.sessions:
                pod.sessions.discard(key)
                self.moved += 1
        if seat is not None:
            seat.sessions.add(key)
        return seat


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(1, 150), st.integers(0, 1000))
def test_no_pod_gets_more_than_the_bound_whatever_comes(pods: int, sessions: int, salt: int) -> None:
    town = Town(pods)
    for number in range(sessions):
        assert town.speak(f"{salt}-{number}") is not None
        held = [pod.occupied() for pod in town.pods.values()]
        assert max(held) <= bound(sum(held) - 1, pods)


def test_a_pod_that_joins_moves_nothing_and_is_filled_first() -> None:
    town = Town(4)
    for number in range(100):
        town.speak(f"s{number}")
    town.pods["new"] = Pod()
    for number in range(100):
        town.speak(f"s{number}")
    assert town.moved == 0
    assert not town.pods["new"].sessions
    for number in range(100, 125):
        town.speak(f"s{number}")
    held = {uid: pod.occupied() for uid, pod in town.pods.items()}
    assert town.moved == 0
    assert held["new"] >= 5, held


def test_what_a_draining_pod_had_is_spread_over_all_others_and_nothing_else_moves() -> None:
    town = Town(5)
    for number in range(200):
        town.speak(f"s{number}")
    had = set(town.pods["pod-0"].sessions)
    town.draining.add("pod-0")
    for number in range(200):
        town.speak(f"s{number}")
    assert town.moved == len(had)
    assert not town.pods["pod-0"].sessions
    assert all(pod.sessions & had for uid, pod in town.pods.items() if uid != "pod-0")


def test_full_is_full() -> None:
    town = Town(2, most=3)
    seats = [town.speak(f"s{number}") for number in range(7)]
    assert [seat is None for seat in seats] == [False] * 6 + [True]
