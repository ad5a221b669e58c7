"""Revisions recorded under an earlier recipe make no new ones under today's code.

The file is never regenerated: its hashes are what revisions in clusters carry.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.observing import NOON, observed, role

from rolehost_api.names import revision_name
from rolehost_operator.observed import read_revision
from rolehost_operator.reconcile import reconcile

RECORDED = json.loads((Path(__file__).parent / "recorded/revisions-v1.json").read_text())


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in RECORDED])
def test_recorded_content_is_recognised(case: dict[str, Any]) -> None:
    kept = {
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
    assert [one["kind"] for one in plan.apply] == ["NetworkPolicy", "ServiceAccount", "PodDisruptionBudget"]
    assert not plan.prune
