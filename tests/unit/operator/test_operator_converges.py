"""Whatever happens to a Role, in whatever order: the operator comes to rest, and what must hold, holds."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.observing import GOOD_PROBE, NOON, observed, report, role

from rolehost_api.link.messages import LoadError, Probe
from rolehost_api.names import EXTERNAL, READY, REPLICAS
from rolehost_operator.living import MOST_LIVE
from rolehost_operator.observed import Observed, read_deployment, read_role
from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out

BREACHED = Probe(gvisor=False, token=False, tried=("10.96.0.1:443",))
GUARDS = ("network_policy", "service_account", "link_secret", "platform_keys", "disruption_budget")
STEPS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from("abcd")),
    st.tuples(st.just("loaded"), st.integers(0, 4)),
    st.tuples(st.just("broken"), st.integers(0, 4)),
    st.tuples(st.just("breached"), st.integers(0, 4)),
    st.tuples(st.just("idle"), st.integers(0, 4)),
    st.tuples(st.just("gateways"), st.integers(0, 2)),
    st.tuples(st.just("gvisor"), st.booleans()),
    st.tuples(st.just("unguarded"), st.integers(0, len(GUARDS) - 1)),
    st.tuples(st.just("new-key"), st.sampled_from("ab")),
    st.tuples(st.just("sessions"), st.integers(0, 500)),
    st.tuples(st.just("image"), st.integers(1, 3)),
    st.tuples(st.just("room"), st.integers(0, 2)),
    st.tuples(st.just("autoscaled"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((1, 3, 70))),
)


def happened(seen: Observed, step: tuple[str, object], now: datetime) -> Observed:
    what, value = step
    if what == "edit":
        raw = {**seen.role.raw, "spec": {**seen.role.raw["spec"], "template": {"persona": {"system": str(value)}}}}
        raw["metadata"] = {**raw["metadata"], "generation": raw["metadata"]["generation"] + 1}
        return replace(seen, role=read_role(raw))
    if what == "gateways":
        assert isinstance(value, int)
        return replace(seen, gateways=value, pods=seen.pods if value else ())
    if what == "gvisor":
        return replace(seen, runtime_class=bool(value))
    if what == "unguarded":
        assert isinstance(value, int)
        return replace(seen, **{GUARDS[value]: None})  # type: ignore[arg-type]
    if what == "new-key":
        return replace(seen, platform=replace(seen.platform, public_keys=("a2V5", str(value))))
    if what == "image":
        return replace(seen, platform=replace(seen.platform, sandbox_image=f"sandbox:{value}"))
    if what == "room":
        assert isinstance(value, int)
        return replace(seen, room=value, halted=not value)
    if what == "autoscaled":
        metadata = {**seen.role.raw["metadata"], "annotations": {REPLICAS: EXTERNAL} if value else {}}
        return replace(seen, role=read_role({**seen.role.raw, "metadata": metadata}))
    if what == "wait" or not seen.revisions:
        return seen
    assert isinstance(value, int)
    name = seen.revisions[value % len(seen.revisions)].meta.name
    if what == "sessions":
        return replace(seen, sessions={**seen.sessions, name: value})
    if what == "idle":
        return replace(seen, idle_since={**seen.idle_since, name: now})
    others = tuple(pod for pod in seen.pods if pod.revision != name)
    error = LoadError(code="import_failed", error="NameError", where="a.py:1") if what == "broken" else None
    pod = report(name, loaded=what == "loaded", error=error, probe=BREACHED if what == "breached" else GOOD_PROBE)
    counted = tuple(
        read_deployment({**one.raw, "status": {"readyReplicas": int(what == "loaded")}})
        if one.revision == name
        else one
        for one in seen.deployments
    )
    return replace(seen, pods=(*others, pod), deployments=counted)


def check(seen: Observed, plan: Plan) -> None:
    kinds = {one["kind"] for one in plan.apply}
    if "Deployment" in kinds:
        assert all(getattr(seen, guard) is not None for guard in GUARDS)
        assert seen.runtime_class
        assert kinds == {"Deployment"}
        assert len(plan.rolls) <= min(1, seen.room)
        images = {one.meta.name: one.image for one in seen.deployments}
        for one in plan.apply:
            name, spec = one["metadata"]["name"], one["spec"]
            assert 1 <= spec.get("replicas", 1) <= 10
            image = spec["template"]["spec"]["containers"][0]["image"]
            assert image == images.get(name, image) or name in plan.rolls
    stable = seen.role.status.stable_revision
    pruned = {gone.name for gone in plan.prune}
    assert not stable or plan.status is not None or stable not in pruned
    if plan.status is not None and any(one.type == READY and one.status == "True" for one in plan.status.conditions):
        assert plan.status.stable_revision == plan.status.latest_ready_revision == plan.status.latest_created_revision


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_it_comes_to_rest_and_keeps_its_promises(steps: list[tuple[str, object]]) -> None:
    seen, now = observed(role()), NOON
    for step in steps:
        seen = happened(seen, step, now)
        now += timedelta(seconds=step[1] if step[0] == "wait" and isinstance(step[1], int) else 0)
        for _ in range(12):
            plan = reconcile(seen, now)
            check(seen, plan)
            seen = carried_out(seen, plan)
            if not plan.writes:
                break
        else:
            raise AssertionError("the operator never rests")
        again = reconcile(seen, now)
        assert again.writes == 0
        sequences = [one.spec.sequence for one in seen.revisions]
        assert len(set(sequences)) == len(sequences)
        assert len(seen.deployments) <= MOST_LIVE + 1
