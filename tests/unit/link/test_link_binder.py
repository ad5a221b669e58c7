"""Who binds a pod: everybody agrees, a change moves no more than it must, and no pod waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.gateway.link.binder import STEP_IN_SECONDS, on_duty, order, rank

MEMBERS = st.sets(st.text(max_size=8), min_size=1, max_size=6)
PODS = st.lists(st.uuids().map(str), max_size=20)


@given(MEMBERS, PODS)
def test_every_pod_has_one_binder_and_everybody_agrees_who(members: set[str], pods: list[str]) -> None:
    for pod in pods:
        ranks = {me: rank(pod, me, members) for me in members}
        assert sorted(ranks.values(), key=lambda one: one or 0) == list(range(len(members)))
        assert [me for me in members if ranks[me] == 0] == order(pod, sorted(members, reverse=True))[:1]


@given(MEMBERS, PODS, st.data())
def test_when_one_goes_only_its_own_pods_move(members: set[str], pods: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(members)))
    for pod in pods:
        before = order(pod, members)
        assert order(pod, members - {gone}) == [member for member in before if member != gone]


@given(MEMBERS, PODS, st.text(max_size=8))
def test_when_one_comes_pods_move_to_it_and_to_nobody_else(members: set[str], pods: list[str], new: str) -> None:
    for pod in pods:
        assert order(pod, members | {new})[0] in (order(pod, members)[0], new)


@given(st.integers(0, 5), st.integers(0, 10**9), st.integers(0, 10**9))
def test_who_steps_in_stays_and_whoever_comes_first_in_order_steps_in_first(place: int, waited: int, more: int) -> None:
    if on_duty(place, waited_ms=waited):
        assert on_duty(place, waited_ms=waited + more)
        assert all(on_duty(earlier, waited_ms=waited) for earlier in range(place))


@given(st.integers(0, 5))
def test_no_pod_waits_for_ever(place: int) -> None:
    assert on_duty(place, waited_ms=place * STEP_IN_SECONDS * 1000)


def test_a_bound_pod_is_nobodys_duty_but_its_binders() -> None:
    assert [on_duty(place, waited_ms=None) for place in (0, 1, 2, None)] == [True, False, False, False]
