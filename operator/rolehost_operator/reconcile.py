"""What is to be done about one Role: the operator's only decision, a function of its arguments.

    template, frozen inputs ──hash──▶ RoleRevision ──▶ Deployment ──pods, reports──▶ serving ──rollout──▶ stable

An object is applied where what is observed does not fit what is wanted, so a plan that
was carried out plans nothing; a write that failed is planned again. What a tenant
namespace must hold before any pod is applied first, and no Deployment is planned until
it was observed there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from rolehost_api.crd.common import Condition
from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.crd.role import Address, RoleSpec, RoleStatus
from rolehost_api.names import (
    BACKEND_NOT_FOUND,
    INVALID_SPEC,
    NOT_A_TENANT,
    READY,
    ROLLOUT_HEALTHY,
    ROLLOUT_PROGRESSING,
    RUNTIME_DRIFT,
    TENANT,
)
from rolehost_operator.desired.revision import Unresolved, adopted, freeze, role_revision, same_content
from rolehost_operator.desired.tenancy import (
    disruption_budget,
    link_secret,
    network_policy,
    platform_keys,
    service_account,
)
from rolehost_operator.living import Course, alive, idle_deployments, old_revisions, retired_since, spoken_of, wanted
from rolehost_operator.objects import KubeObject, fits
from rolehost_operator.observed import Memory, Observed, RevisionSeen
from rolehost_operator.plan import NOW, Note, Plan
from rolehost_operator.rollout import engine, judging, view
from rolehost_operator.rollout.floors import floors
from rolehost_operator.rollout.judged import Judge, heard, judged, prometheus_time
from rolehost_operator.rollout.scene import Outcome
from rolehost_operator.running import Running, running
from rolehost_operator.status.conditions import FINAL, Fault, Situation, conditions, findings
from rolehost_operator.status.corrections import corrections
from rolehost_operator.status.drift import runtime_drift
from rolehost_operator.status.health import health
from rolehost_operator.status.rollout import rollout_findings

PATIENCE = timedelta(seconds=2)
"""How long a Role may be on its way before its status says so: most are Ready by then."""
OF_ROLLOUTS = (ROLLOUT_PROGRESSING, ROLLOUT_HEALTHY)


@dataclass(frozen=True, slots=True)
class Intent:
    """The present template's revision: the one that has its content, or the one to be made."""

    fault: Fault | None = None
    existing: RevisionSeen | None = None
    new: KubeObject | None = None


def reconcile(observed: Observed, now: datetime, judge: Judge = judging.judge) -> Plan:
    if observed.role.meta.deletion_timestamp or observed.namespace.leaving:
        return Plan()  # its children go with it
    if not observed.namespace.tenant:
        hint = f"label it {TENANT}={observed.namespace.name} (rolehost tenants add)"
        fault = Fault(NOT_A_TENANT, f"namespace {observed.namespace.name} is not a tenant's: {hint}")
        return _with_status(observed, now, Running(), Course(_as_it_is(observed)), fault=fault, latest="")

    intent = _intent(observed)
    latest = intent.existing.meta.name if intent.existing else ""
    newest = heard(observed.evidence, observed.memory.evidence, now)
    course = _course(observed, latest, judge, prometheus_time(newest, now), now)
    needed = wanted(course, latest)
    retired = retired_since(observed, needed, now)
    live, idle_wait = alive(observed, course, needed, retired, now)

    apply = list(_guards(observed))
    if intent.new:
        apply.append(intent.new)
    elif intent.existing and not _belongs(observed, intent.existing):
        apply.append(adopted(observed.role.raw, intent.existing))
    guarded = not apply
    run = Running()
    if observed.runtime_class and observed.role.spec:
        # Until then no pod is made or changed, and who waits for its turn still does.
        least = floors(course.scene, course.outcome, observed.role.spec, observed.sessions) if course.scene else {}
        run = running(observed if guarded else replace(observed, room=0), observed.role.spec, live, now, least)
    writes = run.apply if guarded else apply

    plan = _with_status(observed, now, run, course, fault=intent.fault, latest=latest)
    drift, drift_told = corrections(writes, observed, observed.memory.drift_told, now)
    looks = (plan.requeue_after, idle_wait, run.look_in, course.outcome.look_in, None if guarded else NOW)
    waits = [wait for wait in looks if wait is not None]
    return Plan(
        share=tuple(run.share) if guarded else (),
        apply=tuple(writes),
        prune=(*idle_deployments(observed, live), *old_revisions(observed, course, live)),
        status=plan.status,
        status_first=plan.status_first,
        notes=plan.notes + drift,
        requeue_after=min(waits, default=None),
        rolls=tuple(run.rolls),
        waits=bool(run.waiting),
        judgement=course.scene.judgement if course.scene else None,
        memory=Memory(plan.memory.waiting_since, retired, run.ebbs, drift_told, newest),
    )


def _course(observed: Observed, latest: str, judge: Judge, at: datetime, now: datetime) -> Course:
    """`at`: the time by which rollouts are decided."""
    spec = observed.role.spec
    if spec is None:
        return Course(_as_it_is(observed))
    rollout, analysis = observed.role.status.rollout, spec.rollout.analysis
    judgement = judged(judge, analysis, rollout, observed.evidence, at)
    scene = view.scene(observed, spec, latest, judgement, at, now)
    return Course(engine.step(scene), scene)


def _as_it_is(observed: Observed) -> Outcome:
    status = observed.role.status
    return Outcome(
        stable=status.stable_revision,
        canary=status.canary_revision,
        traffic=tuple(status.traffic),
        leaving=tuple(status.leaving),
        rollout=status.rollout,
        history=tuple(status.history),
    )


# ── the revision ────────────────────────────────────────────────────────────────────


def _intent(observed: Observed) -> Intent:
    role = observed.role
    if role.spec is None:
        return Intent(Fault(INVALID_SPEC, f"the spec cannot be read: {role.invalid}"))
    template = role.spec.template
    try:
        frozen = freeze(template, observed.config_maps)
    except Unresolved as error:
        return Intent(Fault(error.reason, str(error)))
    existing = same_content(template, frozen, observed.revisions)
    fault = _backend_fault(role.spec, observed)
    if existing or fault:
        return Intent(fault, existing)
    new = role_revision(role.raw, template, frozen, observed.revisions)
    name = new["metadata"]["name"]
    if any(seen.meta.name == name for seen in observed.revisions):
        return Intent(Fault(INVALID_SPEC, f"RoleRevision {name} exists with another content; delete it"))
    return Intent(new=new)


def _backend_fault(spec: RoleSpec, observed: Observed) -> Fault | None:
    model = spec.template.model
    backend = observed.backends.get(model.backend)
    if backend is None:
        known = ", ".join(sorted(observed.backends)[:8]) or "none"
        return Fault(BACKEND_NOT_FOUND, f"there is no ModelBackend {model.backend}; the cluster has: {known}")
    if backend.type is BackendType.EMBEDDINGS:
        said = f"ModelBackend {model.backend} is of type Embeddings: it gives memory vectors, and answers nobody"
        return Fault(BACKEND_NOT_FOUND, said)
    served = [one.name for one in backend.models]
    if model.name and model.name not in served and backend.type is not BackendType.SCRIPTED:
        said = f"ModelBackend {model.backend} has no model {model.name}; it has: {', '.join(served[:8])}"
        return Fault(BACKEND_NOT_FOUND, said)
    return None


def _belongs(observed: Observed, revision: RevisionSeen) -> bool:
    owners = revision.raw["metadata"].get("ownerReferences", [])
    return any(owner.get("uid") == observed.role.meta.uid for owner in owners)


# ── what runs, and what goes ────────────────────────────────────────────────────────


def _guards(observed: Observed) -> Iterator[KubeObject]:
    name = observed.namespace.name
    yield from _unless_there(network_policy(name, observed.platform), observed.network_policy)
    yield from _unless_there(service_account(name), observed.service_account)
    yield from _unless_there(link_secret(observed.namespace, observed.platform), observed.link_secret)
    yield from _unless_there(platform_keys(name, observed.platform), observed.platform_keys)
    yield from _unless_there(disruption_budget(name), observed.disruption_budget)


def _unless_there(wanted: KubeObject, actual: KubeObject | None) -> Iterator[KubeObject]:
    if actual is None or not fits(wanted, actual):
        yield wanted


# ── the status ──────────────────────────────────────────────────────────────────────


def _with_status(
    observed: Observed, now: datetime, run: Running, course: Course, *, fault: Fault | None, latest: str
) -> Plan:
    """The part of the plan that tells: status, event, and when to tell what may pass by itself.

    At most three writes bring a Role to Ready, so one that is on its way says so only
    after two seconds. Where sessions go is told at once.
    """
    role, outcome = observed.role, course.outcome
    before = role.status
    url = f"{observed.platform.gateway_url}/role/{role.meta.name}"
    of = spoken_of(course, latest)
    found = findings(Situation(observed, fault, of, outcome.stable, health(of, observed), url))
    found |= runtime_drift(observed, run)
    if role.spec:
        missing = observed.evidence.missing if observed.evidence else ""
        found |= rollout_findings(outcome, role.spec.rollout.strategy, missing)
    ready = found[READY]
    serves = ready.status == "True" and of == latest
    status = RoleStatus(
        observed_generation=role.meta.generation,
        conditions=conditions(found, before.conditions, role.meta.generation, now),
        latest_created_revision=latest or before.latest_created_revision,
        latest_ready_revision=latest if serves else before.latest_ready_revision,
        stable_revision=outcome.stable,
        canary_revision=outcome.canary,
        traffic=list(outcome.traffic),
        leaving=list(outcome.leaving),
        rollout=outcome.rollout,
        history=list(outcome.history),
        address=Address(url=url if observed.namespace.tenant else ""),
    )
    waiting_since = None if ready.status == "True" else observed.memory.waiting_since or now
    memory = Memory(waiting_since)
    if same_status(status, before):
        return Plan(memory=memory)
    turns = _directs(status) != _directs(before)
    passing = ready.status != "True" and ready.reason not in FINAL and not turns
    if passing and waiting_since is not None and now - waiting_since < PATIENCE:
        return Plan(requeue_after=waiting_since + PATIENCE - now, memory=memory)
    notes = (*outcome.notes, *_notes(status, before))
    return Plan(status=status, status_first=turns, notes=notes, memory=memory)


def _directs(status: RoleStatus) -> tuple[object, ...]:
    """What gateways send sessions by, and what the next decision goes on from."""
    rollout = status.rollout
    stage = (rollout.id, rollout.stage, rollout.step, rollout.epoch, rollout.obeyed) if rollout else ()
    return status.stable_revision, status.canary_revision, status.traffic, status.leaving, stage


def same_status(wanted: RoleStatus, actual: RoleStatus) -> bool:
    """Whether `actual` says what is `wanted`; conditions of others beside ours do not matter."""
    ours = {condition.type for condition in wanted.conditions} | {RUNTIME_DRIFT, *OF_ROLLOUTS}
    theirs = [condition for condition in actual.conditions if condition.type in ours]
    return _by_type(wanted, wanted.conditions) == _by_type(actual, theirs)


def _by_type(status: RoleStatus, listed: list[Condition]) -> RoleStatus:
    return msgspec.structs.replace(status, conditions=sorted(listed, key=lambda condition: condition.type))


def _notes(status: RoleStatus, before: RoleStatus) -> Iterator[Note]:
    """One event per transition of Ready, but none when a Role first becomes Ready: its status says it."""
    was = next((condition for condition in before.conditions if condition.type == READY), None)
    now = next(condition for condition in status.conditions if condition.type == READY)
    if now.status == "Unknown" or (was is None and now.status == "True"):
        return
    if was is None or (was.status, was.reason) != (now.status, now.reason):
        yield Note("Normal" if now.status == "True" else "Warning", now.reason, now.message)
