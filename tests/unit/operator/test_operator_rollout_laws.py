"""Whatever people, verdicts, pods and deaths of operators do to a rollout, in whatever order: what must hold, holds.

F01: an operator that is killed between any two writes changes nothing of how it ends. F20: what is not known never
promotes. F21: a revision is rolled back by itself at most once. F22: an edit in the middle begins at step 0.
"""

import copy
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.observing import role
from tests.support.proof import SOAK
from tests.support.rolling import PROGRESSIVE, Cluster
from tests.support.staging import HEALTHY, WAITING, WORSE

from rolehost_api.crd.role import RoleStatus
from rolehost_operator.living import MOST_LIVE
from rolehost_operator.observed import Observed, read_revision
from rolehost_operator.rollout import words

VERDICTS = {"healthy": HEALTHY, "worse": WORSE, "waiting": WAITING}
Happened = tuple[str, Any]
HAPPENINGS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from("abcd")),
    st.tuples(st.just("verdict"), st.sampled_from(sorted(VERDICTS))),
    st.tuples(st.just("verdict"), st.sampled_from(sorted(VERDICTS))),
    st.tuples(st.just("good step"), st.just(150)),
    st.tuples(st.just("good step"), st.just(150)),
    st.tuples(st.just("good step"), st.just(150)),
    st.tuples(st.just("later"), st.sampled_from((1, 70, 130, 700, 4_000))),
    st.tuples(st.just("word"), st.sampled_from(("promote", "abort", "promote-bare", "none"))),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("strategy"), st.sampled_from(("Progressive", "Manual", "AllAtOnce", "Experiment"))),
    st.tuples(st.just("pin"), st.sampled_from(("", "@r1", "@r2", "@r9"))),
    st.tuples(st.just("broken"), st.integers(1, 4)),
    st.tuples(st.just("mended"), st.integers(1, 4)),
    st.tuples(st.just("idle"), st.integers(1, 4)),
    st.tuples(st.just("warms"), st.booleans()),
    st.tuples(st.just("gate"), st.sampled_from(("Passed", "Failed"))),
)
EXAMPLES = 300 if SOAK else 40


def happens(cluster: Cluster, happened: Happened) -> None:
    what, value = happened
    rollout = cluster.status.rollout
    match what:
        case "edit":
            cluster.edit(value)
        case "warms":
            cluster.warms = value
            cluster.settle()
        case "verdict":
            cluster.settle(VERDICTS[value])
        case "later":
            cluster.settle(later=value)
        case "good step":
            cluster.settle(HEALTHY, later=value)
        case "word" if rollout is not None:
            place = f"{rollout.id}/{words.place(rollout)}"
            said = {"promote": {"promote": place}, "promote-bare": {"promote": rollout.id}, "abort": {"abort": place}}
            cluster.annotate(**said.get(value, {}))
        case "paused" | "strategy":
            cluster.declare(**{what: value}, variants=[{"revision": "@r2", "percent": 20}])
        case "pin":
            cluster.pin(value)
        case "broken" | "mended" | "idle" if value <= len(cluster.seen.revisions):
            name = cluster.seen.revisions[value - 1].meta.name
            if what == "idle":
                cluster.seen = replace(cluster.seen, idle_since={**cluster.seen.idle_since, name: cluster.now})
            else:
                cluster.broken = cluster.broken | {name} if what == "broken" else cluster.broken - {name}
                cluster.seen = cluster.running(cluster.seen)
            cluster.settle()
        case "gate" if cluster.seen.revisions:
            cluster.seen = with_gate(cluster.seen, value)
            cluster.settle()


def with_gate(seen: Observed, word: str) -> Observed:
    """On the newest revision."""
    *others, newest = seen.revisions
    raw = copy.deepcopy(newest.raw)
    raw["metadata"]["annotations"] = {**raw["metadata"].get("annotations", {}), "gate.rolehost.io/evals": word}
    marked = read_revision(raw)
    assert marked is not None
    return replace(seen, revisions=(*others, marked))


def begun(gated: bool) -> Cluster:
    """With a second revision that waits for its gate, or earns its traffic already."""
    gates = {"analysis": {"gates": [{"name": "evals"}]}} if gated else {}
    return Cluster(role(rollout={**PROGRESSIVE, **gates}, revisionHistoryLimit=1)).edit("a")


def check(cluster: Cluster, before: RoleStatus, happened: Happened) -> None:
    status: RoleStatus = cluster.status
    known = {one.meta.name for one in cluster.seen.revisions}
    running = {one.revision for one in cluster.seen.deployments}
    shares = {one.revision: one.percent for one in status.traffic}
    assert len(shares) == len(status.traffic)
    assert not shares or sum(shares.values()) == 100
    needed = {status.stable_revision, status.canary_revision, *shares} - {""}
    assert needed <= known, "what sessions are sent to was forgotten"
    assert needed <= running, "what sessions are sent to has no pods"
    assert {one.revision for one in status.leaving} <= known
    assert not needed & {one.revision for one in status.leaving}
    assert len(running) <= MOST_LIVE + 1
    msgspec.convert(msgspec.to_builtins(status), RoleStatus)  # within the bounds that the apiserver keeps
    automatic = [one.revision for one in status.history if one.automatic and one.action == "RolledBack"]
    assert len(automatic) == len(set(automatic)), "F21"

    was, now = before.rollout, status.rollout
    rose = was is not None and now is not None and was.id == now.id and was.stage == "Stepping" == now.stage
    if rose and was is not None and now is not None and now.percent > was.percent:
        assert (
            happened in (("verdict", "healthy"), ("word", "promote"), ("word", "promote-bare"))
            or (was.last_decision is not None and words.obeyed(was) != words.obeyed(now))
            or cluster.judgements.get((was.id, was.epoch)) is HEALTHY
        ), "F20"
    if now is not None and was is not None and now.id != was.id and now.stage == "Preparing":
        assert (now.step, now.percent) == (0, 0), "F22"
    if now is not None and now.stage == "Stopped":
        assert status.traffic == []


@settings(max_examples=EXAMPLES)
@given(st.booleans(), st.lists(HAPPENINGS, max_size=14))
def test_what_must_hold_holds(gated: bool, steps: list[Happened]) -> None:
    cluster = begun(gated)
    for happened in steps:
        before = cluster.status
        happens(cluster, happened)
        check(cluster, before, happened)
        assert cluster.look().writes == 0


@settings(max_examples=EXAMPLES)
@given(st.booleans(), st.lists(HAPPENINGS, min_size=1, max_size=10), st.lists(st.integers(0, 4), max_size=10))
def test_an_operator_that_dies_between_any_two_writes_ends_the_same(
    gated: bool, steps: list[Happened], deaths: list[int]
) -> None:
    """F01, with canaries."""
    calm, deadly = begun(gated), begun(gated)
    for number, happened in enumerate(steps):
        happens(calm, happened)
        deadly.kill_after = deaths[number] if number < len(deaths) else None
        happens(deadly, happened)
        deadly.kill_after = None
        check(deadly, deadly.status, happened)
        assert told(deadly.status) == told(calm.status)
    assert len(deadly.notes) <= len(calm.notes), "nothing is told twice"


def told(status: RoleStatus) -> RoleStatus:
    """What of the status is of rollouts."""
    return msgspec.structs.replace(status, conditions=[], latest_ready_revision="", observed_generation=0)
