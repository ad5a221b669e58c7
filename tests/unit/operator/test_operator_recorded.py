"""Objects that an earlier version stored are good as they are: no new revision, no lost status, no pod replaced.

The files are never regenerated. `revisions-v1.json`: content with the hashes that revisions in
clusters carry. `objects-v1.yaml`: a Role that serves with all that was made for it, by an operator
that kept no disruption budget and wrote no mark of its runtime.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.support.observing import NOON, from_document, observed, role

from rolehost_api.names import API_VERSION, revision_name
from rolehost_operator.observed import Observed, read_revision, read_role
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out

FOLDER = Path(__file__).parent / "recorded"
RECORDED = json.loads((FOLDER / "revisions-v1.json").read_text())


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in RECORDED])
def test_recorded_content_is_recognised(case: dict[str, Any]) -> None:
    kept = {
        "apiVersion": API_VERSION,
        "kind": "RoleRevision",
        "metadata": {
            "name": revision_name("cat", case["hash"]),
            "namespace": "acme",
            "uid": "u",
            "ownerReferences": [{"kind": "Role", "name": "cat", "uid": "role-uid"}],
        },
        "spec": {
            "roleName": "cat",
            "sequence": 1,
            "hashVersion": case["hashVersion"],
            "hash": case["hash"],
            "template": case["template"],
            "frozen": case["frozen"],
        },
    }
    files = {
        "words": {path.removeprefix("persona/"): text for path, text in case["frozen"].items() if path[0] == "p"},
        "code": {path.removeprefix("logic/"): text for path, text in case["frozen"].items() if path[0] == "l"},
    }
    revision = read_revision(kept)
    assert revision is not None
    plan = reconcile(observed(role(case["template"]), revisions=(revision,), config_maps=files), NOON)
    guards = ["NetworkPolicy", "ServiceAccount", "Secret", "ConfigMap", "PodDisruptionBudget"]
    assert [one["kind"] for one in plan.apply] == guards
    assert not plan.prune


# ── a whole Role ────────────────────────────────────────────────────────────────────

OWN = {"RoleRevision", "Deployment"}


def stored() -> Observed:
    """Where its pods cannot be replaced yet: what a new operator finds."""
    document = yaml.safe_load((FOLDER / "objects-v1.yaml").read_text())
    return replace(from_document(document), room=0)


def guarded(seen: Observed) -> Observed:
    """After what a namespace has since then was made: once per tenant, whatever its Roles."""
    plan = reconcile(seen, NOON)
    assert not {one["kind"] for one in plan.apply} & OWN
    return carried_out(seen, plan)


def without_words(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A new operator may say the same in other words; that is no transition."""
    return [{key: value for key, value in one.items() if key != "message"} for one in conditions]


def test_a_new_operator_leaves_a_role_of_the_version_before_alone() -> None:
    seen = guarded(stored())
    plan = reconcile(seen, NOON)
    assert not plan.apply
    assert not plan.prune
    assert not plan.share
    before = msgspec.to_builtins(stored().role.status)
    after = msgspec.to_builtins(plan.status or seen.role.status)
    kept = without_words(after["conditions"])
    lost = [one for one in without_words(before.pop("conditions")) if one not in kept]
    assert lost == []
    assert {key: after[key] for key in before} == before


def test_what_a_newer_version_stored_is_read_past_by_this_one() -> None:
    """Back to the operator before: fields, conditions and annotations that it does not know stay and trouble nobody."""
    seen = guarded(stored())
    raw = seen.role.raw
    condition = {**raw["status"]["conditions"][0], "type": "FromTheFuture"}
    status = {**raw["status"], "fromTheFuture": {"step": 2}, "conditions": [*raw["status"]["conditions"], condition]}
    newer = {**raw, "spec": {**raw["spec"], "colour": "blue"}, "status": status}
    plan = reconcile(replace(seen, role=read_role(newer)), NOON)
    assert plan.writes == reconcile(seen, NOON).writes
    assert not plan.apply
