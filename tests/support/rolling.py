"""A cluster in which all that the operator plans of one Role comes to be: for tests of its rollouts."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.support.observing import NOON, observed, report, role

from rolehost_api.crd.common import Condition
from rolehost_api.names import ABORT, PROMOTE
from rolehost_operator.observed import FRESH, Observed, read_deployment, read_role
from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out, warmed
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.rollout.verdict import Judgement, Verdict

PROGRESSIVE = {"strategy": "Progressive"}


class Cluster:
    """Where all that is planned comes to be, and every Deployment's pods are Ready at once, unless told otherwise."""

    def __init__(self, raw: dict[str, Any] | None = None, **rollout: Any) -> None:
        self.now = NOON
        self.seen = observed(raw or role(rollout={**PROGRESSIVE, **rollout}))
        self.broken: set[str] = set()
        """Revisions whose pods do not come up."""
        self.warms = True
        """The gateway does what it is asked to, and says so."""
        self.judgements: dict[tuple[str, int], Judgement] = {}
        """By rollout and epoch: a later epoch has evidence of its own."""
        self.missing = ""
        """Why there is no evidence."""
        self.stands_still = False
        """No new sample comes: the evidence is that of before."""
        self.evidence: Evidence | None = None
        self.notes: list[str] = []
        self.kill_after: int | None = None
        """The operator dies after so many writes, once, and another one begins."""
        self.settle()

    def settle(self, judgement: Judgement | None = None, later: float = 0) -> "Cluster":
        """`judgement`: of what is compared now, until another step begins."""
        self.now += timedelta(seconds=later)
        if judgement is not None:
            self.found(judgement)
        for _ in range(16):
            plan = self.look()
            if not plan.writes:
                return self
        raise AssertionError(f"the operator never rests: {plan}")

    def found(self, judgement: Judgement) -> None:
        if self.status.rollout:
            self.judgements[self.status.rollout.id, self.status.rollout.epoch] = judgement

    def look(self) -> Plan:
        rollout = self.status.rollout
        judgement = self.judgements.get((rollout.id, rollout.epoch)) if rollout else None
        if not self.stands_still:
            self.evidence = Evidence(rollout.id, self.now, missing=self.missing) if judgement and rollout else None
        seen = replace(self.seen, evidence=self.evidence)

        def judge(evidence: Evidence, *_: Any, **__: Any) -> Judgement:
            if evidence.missing:
                return Judgement(Verdict.UNKNOWN, evidence.missing, "it cannot be read")
            assert judgement is not None
            return judgement

        plan = reconcile(seen, self.now, judge)
        done = list(one_by_one(plan))
        if self.kill_after is not None and self.kill_after < len(done):
            for one in done[: self.kill_after]:
                seen = carried_out(seen, one)
            seen, self.kill_after = replace(seen, memory=FRESH), None
        else:
            seen = carried_out(seen, plan)
            self.notes += [note.reason for note in plan.notes]
            if self.kill_after is not None:
                self.kill_after -= len(done)
        self.seen = replace(self.running(seen), evidence=None)
        return plan

    def running(self, seen: Observed) -> Observed:
        names = [one.revision for one in seen.deployments if one.revision not in self.broken]
        ready = tuple(
            read_deployment({**one.raw, "status": {"readyReplicas": one.replicas if one.revision in names else 0}})
            for one in seen.deployments
        )
        said = warmed(seen) if self.warms else {}
        return replace(seen, deployments=ready, pods=tuple(report(name) for name in names), warmed=said)

    def edit(self, system: str) -> "Cluster":
        self.seen = edited(self.seen, system)
        return self.settle()

    def annotate(self, **words: str) -> "Cluster":
        names = {"promote": PROMOTE, "abort": ABORT}
        raw = self.seen.role.raw
        metadata = {**raw["metadata"], "annotations": {names[key]: word for key, word in words.items()}}
        self.seen = replace(self.seen, role=read_role({**raw, "metadata": metadata}))
        return self.settle()

    def declare(self, **rollout: Any) -> "Cluster":
        raw = self.seen.role.raw
        spec = {**raw["spec"], "rollout": {**raw["spec"].get("rollout", {}), **rollout}}
        self.seen = replace(self.seen, role=read_role({**raw, "spec": spec}))
        return self.settle()

    def pin(self, word: str) -> "Cluster":
        return self.declare(pinnedRevision=word)

    @property
    def status(self) -> Any:
        return self.seen.role.status

    def revision(self, number: int) -> str:
        return next(one.meta.name for one in self.seen.revisions if one.spec.sequence == number)

    def pods(self) -> dict[int, int]:
        """By revision's number."""
        numbers = {one.meta.name: one.spec.sequence for one in self.seen.revisions}
        return {numbers[one.revision]: one.replicas for one in self.seen.deployments}

    def idle(self, *numbers: int, since: datetime) -> "Cluster":
        self.seen = replace(self.seen, idle_since={self.revision(one): since for one in numbers})
        return self


def one_by_one(plan: Plan) -> Iterator[Plan]:
    """Its writes, in the order in which the shell does them."""
    status = [Plan(status=plan.status)] if plan.status is not None else []
    yield from status if plan.status_first else ()
    yield from (Plan(apply=(one,)) for one in plan.apply)
    yield from (Plan(prune=(one,)) for one in plan.prune)
    yield from () if plan.status_first else status


def edited(seen: Observed, system: str, **spec: Any) -> Observed:
    raw = {**seen.role.raw, "spec": {**seen.role.raw["spec"], "template": {"persona": {"system": system}}, **spec}}
    raw["metadata"] = {**raw["metadata"], "generation": raw["metadata"]["generation"] + 1}
    return replace(seen, role=read_role(raw))


def condition(seen: Observed, kind: str) -> Condition:
    return next(one for one in seen.role.status.conditions if one.type == kind)
