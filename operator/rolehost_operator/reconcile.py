"""What is to be done about one Role: the operator's only decision, a function of its arguments.

    template, frozen inputs ──hash──▶ RoleRevision ──▶ Deployment ──pods, reports──▶ serving ──▶ stable

An object is applied where what is observed does not fit what is wanted, so a plan that
was carried out plans nothing; a write that failed is planned again. What a tenant
namespace must hold before any pod is applied first, and no Deployment is planned until
it was observed there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from rolehost_api.crd.common import Condition
from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.crd.role import Address, RoleSpec, RoleStatus
from rolehost_api.names import BACKEND_NOT_FOUND, INVALID_SPEC, NOT_A_TENANT, READY, RUNTIME_DRIFT, TENANT
from rolehost_operator.desired.revision import Unresolved, adopted, freeze, role_revision, same_content
from rolehost_operator.desired.tenancy import (
    disruption_budget,
    link_secret,
    network_policy,
    platform_keys,
    service_account,
)
from rolehost_operator.objects import KubeObject, fits
from rolehost_operator.observed import DeploymentSeen, Memory, Observed, RevisionSeen
from rolehost_operator.plan import NOW, Note, Plan, Prune
from rolehost_operator.running import Running, running
from rolehost_operator.status.conditions import FINAL, Fault, Situation, conditions, findings
from rolehost_operator.status.corrections import corrections
from rolehost_operator.status.drift import runtime_drift
from rolehost_operator.status.health import health

PATIENCE = timedelta(seconds=2)
"""How long a Role may be on its way before its status says so: most are Ready by then."""
IDLE = timedelta(seconds=60)
"""How long an old revision must be without sessions before its pods go."""
MOST_LIVE = 3
"""Revisions of a Role with pods, once the newest serves; the one that is on its way comes on top."""


@dataclass(frozen=True, slots=True)
class Intent:
    """The present template's revision: the one that has its content, or the one to be made."""

    fault: Fault | None = None
    existing: RevisionSeen | None = None
    new: KubeObject | None = None


def reconcile(observed: Observed, now: datetime) -> Plan:
    if observed.role.meta.deletion_timestamp or observed.namespace.leaving:
        return Plan()  # its children go with it
    if not observed.namespace.tenant:
        hint = f"label it {TENANT}={observed.namespace.name} (rolehost tenants add)"
        fault = Fault(NOT_A_TENANT, f"namespace {observed.namespace.name} is not a tenant's: {hint}")
        stable = observed.role.status.stable_revision
        return _with_status(observed, now, Running(), fault=fault, latest="", stable=stable)

    intent = _intent(observed)
    latest = intent.existing.meta.name if intent.existing else ""
    stable = _stable(observed, latest)
    retired = _retired(observed, {latest, stable}, now)
    live, idle_wait = _live(observed, latest, stable, retired, now)

    apply = list(_guards(observed))
    if intent.new:
        apply.append(intent.new)
    elif intent.existing and not _belongs(observed, intent.existing):
        apply.append(adopted(observed.role.raw, intent.existing))
    guarded = not apply
    run = Running()
    if observed.runtime_class and observed.role.spec:
        # Until then no pod is made or changed, and who waits for its turn still does.
        run = running(observed if guarded else replace(observed, room=0), observed.role.spec, live, now)
    writes = run.apply if guarded else apply

    plan = _with_status(observed, now, run, fault=intent.fault, latest=latest, stable=stable)
    drift, drift_told = corrections(writes, observed, observed.memory.drift_told, now)
    looks = (plan.requeue_after, idle_wait, run.look_in, None if guarded else NOW)
    waits = [wait for wait in looks if wait is not None]
    return Plan(
        share=tuple(run.share) if guarded else (),
        apply=tuple(writes),
        prune=(*_idle_deployments(observed, live), *_old_revisions(observed, live)),
        status=plan.status,
        notes=plan.notes + drift,
        requeue_after=min(waits, default=None),
        rolls=tuple(run.rolls),
        waits=bool(run.waiting),
        memory=Memory(plan.memory.waiting_since, retired, run.ebbs, drift_told),
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
    served = [one.name for one in backend.models]
    if model.name and model.name not in served and backend.type is BackendType.OPENAI:
        said = f"ModelBackend {model.backend} has no model {model.name}; it has: {', '.join(served[:8])}"
        return Fault(BACKEND_NOT_FOUND, said)
    return None


def _stable(observed: Observed, latest: str) -> str:
    """The revision that takes new sessions: the newest that serves, and a bad one never.

    The one of the present template as soon as it serves; until then the one that was
    stable; where that is gone, the newest that serves.
    """
    if latest and health(latest, observed).serving:
        return latest
    names = [seen.meta.name for seen in sorted(observed.revisions, key=lambda seen: -seen.spec.sequence)]
    before = observed.role.status.stable_revision
    if before in names:
        return before
    return next((name for name in names if health(name, observed).serving), "")


def _belongs(observed: Observed, revision: RevisionSeen) -> bool:
    owners = revision.raw["metadata"].get("ownerReferences", [])
    return any(owner.get("uid") == observed.role.meta.uid for owner in owners)


# ── what runs, and what goes ────────────────────────────────────────────────────────


def _retired(observed: Observed, wanted: set[str], now: datetime) -> dict[str, datetime]:
    names = {seen.revision for seen in observed.deployments} - wanted
    return {name: observed.memory.retired_since.get(name, now) for name in sorted(names)}


def _live(
    observed: Observed, latest: str, stable: str, retired: Mapping[str, datetime], now: datetime
) -> tuple[list[RevisionSeen], timedelta | None]:
    """Revisions that keep or get pods, newest first, and when to look at the idle ones again.

    Latest and stable; and an older one that has pods until it has been without sessions for
    60 s, by the word of every gateway and counted from when it retired at the earliest.
    Where nobody reports, it stays. Past three the oldest goes, sessions or not:
    they move to the stable one at their next turn.
    """
    wanted = {latest, stable}
    live: list[RevisionSeen] = []
    waits: list[timedelta] = []
    for revision in sorted(observed.revisions, key=lambda seen: -seen.spec.sequence):
        name = revision.meta.name
        if name not in wanted:
            if name not in retired:
                continue
            if name in observed.idle_since:
                left = max(observed.idle_since[name], retired[name]) + IDLE - now
                if left <= timedelta(0):
                    continue
                waits.append(left)
        live.append(revision)
    if latest == stable:
        spare = [revision for revision in live if revision.meta.name not in wanted]
        excess = spare[MOST_LIVE - 1 :]
        live = [revision for revision in live if revision not in excess]
    return live, min(waits, default=None)


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


def _idle_deployments(observed: Observed, live: list[RevisionSeen]) -> Iterator[Prune]:
    """Deployments of revisions that are not live any more.

    One whose revision is not (yet) seen is left alone: the garbage collector takes the
    real orphans.
    """
    kept = {revision.meta.name for revision in live}
    known = {revision.meta.name for revision in observed.revisions}
    for seen in observed.deployments:
        if seen.revision in known - kept and not seen.meta.deletion_timestamp:
            yield _prune(seen)


def _old_revisions(observed: Observed, live: list[RevisionSeen]) -> Iterator[Prune]:
    """Revisions past the history's limit that have no pods.

    Never the one with the highest number: the next one's number counts from it, and a
    number is not used twice.
    """
    if observed.role.spec is None:
        return
    busy = {revision.meta.name for revision in live} | {seen.revision for seen in observed.deployments}
    newest_first = sorted(observed.revisions, key=lambda seen: -seen.spec.sequence)
    history = [revision for revision in newest_first[1:] if revision.meta.name not in busy]
    for revision in history[observed.role.spec.revision_history_limit :]:
        if not revision.meta.deletion_timestamp:
            yield _prune(revision)


def _prune(seen: DeploymentSeen | RevisionSeen) -> Prune:
    meta, raw = seen.meta, seen.raw
    return Prune(raw["apiVersion"], raw["kind"], meta.namespace, meta.name, meta.uid, meta.resource_version)


# ── the status ──────────────────────────────────────────────────────────────────────


def _with_status(
    observed: Observed, now: datetime, run: Running, *, fault: Fault | None, latest: str, stable: str
) -> Plan:
    """The part of the plan that tells: status, event, and when to tell what may pass by itself.

    At most three writes bring a Role to Ready, so one that is on its way says so only
    after two seconds.
    """
    role = observed.role
    before = role.status
    url = f"{observed.platform.gateway_url}/role/{role.meta.name}"
    found = findings(Situation(observed, fault, latest, stable, health(latest, observed), url))
    found |= runtime_drift(observed, run)
    ready = found[READY]
    status = RoleStatus(
        observed_generation=role.meta.generation,
        conditions=conditions(found, before.conditions, role.meta.generation, now),
        latest_created_revision=latest or before.latest_created_revision,
        latest_ready_revision=latest if ready.status == "True" else before.latest_ready_revision,
        stable_revision=stable,
        address=Address(url=url if observed.namespace.tenant else ""),
    )
    waiting_since = None if ready.status == "True" else observed.memory.waiting_since or now
    memory = Memory(waiting_since)
    if same_status(status, before):
        return Plan(memory=memory)
    passing = ready.status != "True" and ready.reason not in FINAL
    if passing and waiting_since is not None and now - waiting_since < PATIENCE:
        return Plan(requeue_after=waiting_since + PATIENCE - now, memory=memory)
    return Plan(status=status, notes=tuple(_notes(status, before)), memory=memory)


def same_status(wanted: RoleStatus, actual: RoleStatus) -> bool:
    """Whether `actual` says what is `wanted`; conditions of others beside ours do not matter."""
    ours = {condition.type for condition in wanted.conditions} | {RUNTIME_DRIFT}
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
