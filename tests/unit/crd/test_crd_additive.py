"""CRDs only ever gain: what an earlier contract let in, today's lets in.

`recorded/contract-<N>.yaml` holds the CRDs of contract N. After a release they are never
written again; a schema that gains something gets the next number and a record of its own.
Before the first release, RECORD_CONTRACT=1 writes the newest anew; read the diff.
"""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from tests.support.narrowing import definition_narrowings

from rolehost_api.crd.kinds import CONTRACT_NUMBER
from rolehost_api.crd.render import crds
from rolehost_api.names import CONTRACT

FOLDER = Path(__file__).parent / "recorded"
NEWEST = FOLDER / f"contract-{CONTRACT_NUMBER}.yaml"
if os.environ.get("RECORD_CONTRACT"):
    NEWEST.write_text(yaml.safe_dump_all(crds(), sort_keys=False, allow_unicode=True, width=110))
RECORDED = sorted(FOLDER.glob("contract-*.yaml"))


def by_name(definitions: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in definitions}


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_nothing_that_was_good_is_refused(file: Path) -> None:
    today = by_name(crds())
    for name, old in by_name(list(yaml.safe_load_all(file.read_text()))).items():
        assert name in today, f"{name} is gone"
        assert list(definition_narrowings(old, today[name])) == []


def test_every_contract_has_its_record() -> None:
    assert [file.name for file in RECORDED] == [f"contract-{number}.yaml" for number in range(1, CONTRACT_NUMBER + 1)]


def test_the_number_stands_for_the_schemas() -> None:
    """Other schemas, another number: an operator tells by it whether a cluster's CRDs know all of its fields."""
    recorded = by_name(list(yaml.safe_load_all(NEWEST.read_text())))
    for name, definition in by_name(crds()).items():
        assert definition["metadata"]["annotations"][CONTRACT] == str(CONTRACT_NUMBER)
        was, now = (without_words(one["spec"]["versions"]) for one in (recorded[name], definition))
        assert was == now, f"{name}: raise CONTRACT_NUMBER, then RECORD_CONTRACT=1 records it"


def without_words(part: Any) -> Any:
    """Without descriptions, messages and columns, which change nothing of what is stored."""
    if isinstance(part, dict):
        words = {"additionalPrinterColumns", "message"}
        kept = {key: value for key, value in part.items() if key not in words}
        if isinstance(kept.get("description"), str):
            del kept["description"]
        return {key: without_words(value) for key, value in kept.items()}
    return [without_words(one) for one in part] if isinstance(part, list) else part


# ── that a narrowing would be seen ──────────────────────────────────────────────────


def schema(definition: dict[str, Any], *path: str) -> dict[str, Any]:
    part = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path:
        part = part["items"] if name == "[]" else part["properties"][name]
    return cast("dict[str, Any]", part)


NARROWED: list[Any] = [
    pytest.param(lambda crd: schema(crd, "spec")["properties"].pop("logs"), "logs is gone", id="a-field"),
    pytest.param(
        lambda crd: schema(crd, "spec", "scaling", "maxReplicas").update(maximum=9), "maximum is 9", id="a-bound"
    ),
    pytest.param(
        lambda crd: schema(crd, "spec", "sessions", "maxPerPod").update(minimum=2), "minimum is 2", id="a-lower-bound"
    ),
    pytest.param(
        lambda crd: schema(crd, "spec", "logs")["enum"].remove("Off"), "Off is not allowed any more", id="a-word"
    ),
    pytest.param(lambda crd: schema(crd, "spec")["required"].append("logs"), "logs is required", id="a-requirement"),
    pytest.param(
        lambda crd: schema(crd, "spec", "displayName").update(pattern="^a"), "pattern is '^a'", id="a-pattern"
    ),
    pytest.param(
        lambda crd: schema(crd, "spec", "slo", "objectives", "[]", "target").update(type="integer"), "type", id="a-type"
    ),
    pytest.param(
        lambda crd: schema(crd, "spec").update({"x-kubernetes-validations": [{"rule": "false", "message": "no"}]}),
        "there is a new rule, false",
        id="a-rule",
    ),
    pytest.param(
        lambda crd: schema(crd, "spec", "scaling", "minReplicas").update(default=2), "default is 2", id="a-default"
    ),
    pytest.param(lambda crd: crd["spec"].update(scope="Cluster"), "scope", id="the-scope"),
    pytest.param(lambda crd: crd["spec"]["versions"][0].update(name="v1"), "not served any more", id="the-version"),
    pytest.param(lambda crd: crd["spec"]["versions"][0].pop("subresources"), "subresource", id="the-status"),
]


@pytest.mark.parametrize(("narrow", "said"), NARROWED)
def test_a_narrowing_is_seen(narrow: Callable[[dict[str, Any]], None], said: str) -> None:
    role = crds()[0]
    narrowed = copy.deepcopy(role)
    narrow(narrowed)
    assert said in "\n".join(definition_narrowings(role, narrowed))


def test_a_gain_is_none() -> None:
    role = crds()[0]
    more = copy.deepcopy(role)
    schema(more, "spec")["properties"]["colour"] = {"type": "string", "maxLength": 5}
    schema(more, "spec", "logs")["enum"].append("Everyone")
    schema(more, "spec", "scaling", "maxReplicas").update(maximum=2000)
    assert list(definition_narrowings(role, more)) == []
