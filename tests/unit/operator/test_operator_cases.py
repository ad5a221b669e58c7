"""Golden cases: what was observed → what is planned, one folder each.

After a change that is meant, UPDATE_CASES=1 writes the plans anew; read the diff.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.support.observing import NOON, from_document

from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile

CASES = Path(__file__).parent / "cases"


def as_document(plan: Plan) -> dict[str, Any]:
    said: dict[str, Any] = {
        "apply": list(plan.apply),
        "prune": [asdict(one) for one in plan.prune],
        "status": None if plan.status is None else msgspec.to_builtins(plan.status),
        "notes": [asdict(one) for one in plan.notes],
        "requeueSeconds": None if plan.requeue_after is None else plan.requeue_after.total_seconds(),
    }
    # Through JSON, so that what objects share is not written as YAML aliases.
    return dict(json.loads(json.dumps({key: value for key, value in said.items() if value not in (None, [])})))


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_case(case: str) -> None:
    folder = CASES / case
    plan = as_document(reconcile(from_document(yaml.safe_load((folder / "observed.yaml").read_text())), NOON))
    file = folder / "plan.yaml"
    if os.environ.get("UPDATE_CASES"):
        file.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=110))
    assert plan == yaml.safe_load(file.read_text())
