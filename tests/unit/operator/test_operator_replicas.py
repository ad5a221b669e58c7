"""Pods follow sessions: up at once, down after a calm while, and never out of the Role's bounds."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.observing import NOON, observed, role
from tests.unit.operator.test_operator_reconcile import edited, ready, settled

from rolehost_api.crd.role import RoleSpec, RoleTemplate, Scaling
from rolehost_api.names import EXTERNAL, REPLICAS
from rolehost_operator.desired.replicas import CALM, needed, replicas
from rolehost_operator.observed import Observed, read_deployment, read_role
from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile

SCALINGS = st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(1, 100)).map(
    lambda given: Scaling(min_replicas=min(given[:2]), max_replicas=max(given[:2]), target_sessions_per_pod=given[2])
)
SECOND = timedelta(seconds=1)


def spec(scaling: Scaling) -> RoleSpec:
    return RoleSpec(template=RoleTemplate(), scaling=scaling)


# ── the number ──────────────────────────────────────────────────────────────────────


@given(SCALINGS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_sessions_never_need_fewer_pods(scaling: Scaling, some: int, others: int) -> None:
    assert needed(spec(scaling), some) <= needed(spec(scaling), some + others)


@given(SCALINGS, st.lists(st.tuples(st.none() | st.integers(0, 5000), st.integers(0, 200)), max_size=30))
def test_pods_stay_in_bounds_are_enough_at_once_and_go_only_after_a_calm_while(
    scaling: Scaling, looks: list[tuple[int | None, int]]
) -> None:
    role_spec, now, there, ebb = spec(scaling), NOON, scaling.min_replicas, None
    needs: list[tuple[Any, int]] = []
    for sessions, seconds in looks:
        now += seconds * SECOND
        count = replicas(role_spec, sessions, there, ebb, now)
        assert scaling.min_replicas <= count.replicas <= scaling.max_replicas
        if sessions is None:
            needs.clear()  # who does not know does not count on what it knew
            assert count.replicas == there
        else:
            needs.append((now, needed(role_spec, sessions)))
            assert count.replicas >= needs[-1][1]
        if count.replicas < there:
            recent = [pods for at, pods in needs if at >= now - CALM]
            assert needs[0][0] <= now - CALM, "not yet for long enough"
            assert count.replicas >= max(recent)
        there, ebb = count.replicas, count.ebb


def test_bounds_that_were_changed_are_obeyed_at_once() -> None:
    narrow = spec(Scaling(min_replicas=2, max_replicas=3))
    assert replicas(narrow, None, 10, None, NOON).replicas == 3
    assert replicas(narrow, None, 1, None, NOON).replicas == 2


def test_a_busy_moment_in_the_calm_starts_it_anew() -> None:
    role_spec = spec(Scaling(target_sessions_per_pod=10))
    first = replicas(role_spec, 10, 3, None, NOON)
    full = replicas(role_spec, 30, 3, first.ebb, NOON + CALM - SECOND)
    assert (full.replicas, full.ebb) == (3, None)
    again = replicas(role_spec, 10, 3, full.ebb, NOON + CALM)
    assert (again.replicas, again.look_in) == (3, CALM)


# ── in a plan ───────────────────────────────────────────────────────────────────────


def pods(seen: Observed) -> list[int]:
    return [one.replicas for one in sorted(seen.deployments, key=lambda one: one.meta.name)]


def with_sessions(seen: Observed, count: int) -> Observed:
    return replace(seen, sessions={one.meta.name: count for one in seen.revisions})


def deployments(plan: Plan) -> list[dict[str, Any]]:
    return [one for one in plan.apply if one["kind"] == "Deployment"]


def test_sessions_bring_pods_and_a_calm_while_takes_them() -> None:
    seen = settled(with_sessions(ready(observed()), 100))
    assert pods(seen) == [4]
    seen = with_sessions(seen, 10)
    waits = reconcile(seen, NOON)
    assert (waits.writes, waits.requeue_after) == (0, CALM)
    assert pods(settled(replace(seen, memory=waits.memory), NOON + CALM)) == [1]


def test_where_a_gateway_does_not_say_pods_stay() -> None:
    seen = settled(with_sessions(ready(observed()), 100))
    assert reconcile(replace(seen, sessions={}), NOON + 10 * CALM).writes == 0


def test_every_live_revision_counts_its_own_sessions() -> None:
    first = settled(with_sessions(ready(observed()), 100))
    old = first.revisions[0].meta.name
    both = replace(ready(edited(first, "You are a dog.")), sessions={old: 100})
    both = settled(both)
    assert {one.revision == old: one.replicas for one in both.deployments} == {True: 4, False: 1}


def external(seen: Observed, word: str = EXTERNAL) -> Observed:
    raw = seen.role.raw
    return replace(
        seen, role=read_role({**raw, "metadata": {**raw["metadata"], "annotations": {REPLICAS: word} if word else {}}})
    )


def test_an_autoscaler_is_handed_the_number_before_it_is_let_go() -> None:
    seen = settled(with_sessions(ready(observed()), 100))
    plan = reconcile(external(seen), NOON)
    [part] = plan.share
    assert part["spec"] == {"replicas": 4}
    assert part["metadata"]["uid"] == seen.deployments[0].meta.uid
    [applied] = deployments(plan)
    assert "replicas" not in applied["spec"]
    assert applied["metadata"]["annotations"][REPLICAS] == EXTERNAL


def test_what_an_autoscaler_counted_is_left_alone() -> None:
    seen = external(with_sessions(ready(observed()), 100))
    [applied] = deployments(reconcile(seen, NOON))
    stored = {**applied, "spec": {**applied["spec"], "replicas": 7}, "status": {"readyReplicas": 7}}
    scaled = replace(seen, deployments=(read_deployment(stored),))
    assert reconcile(scaled, NOON).writes == 0
    back = settled(external(scaled, ""))
    assert pods(back) == [7]
    calm = reconcile(back, NOON)
    assert pods(settled(replace(back, memory=calm.memory), NOON + CALM)) == [4]


def test_a_deployment_that_an_autoscaler_will_count_begins_without_a_number() -> None:
    raw = role()
    raw["metadata"]["annotations"] = {REPLICAS: EXTERNAL}
    [made] = settled(observed(raw)).deployments
    assert "replicas" not in made.raw["spec"]


@pytest.mark.parametrize("word", ["external", "Operator", ""])
def test_another_word_is_no_opting_out(word: str) -> None:
    seen = settled(ready(observed()))
    assert reconcile(external(seen, word), NOON).writes == 0
