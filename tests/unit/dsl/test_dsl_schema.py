"""The schema that editors take says what the compiler says."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rolehost.cli.schema import SCHEMA, rendered
from rolehost_runtime.core.dsl.schema import schema

REPOSITORY = Path(__file__).parents[3]
GOOD: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "cases" / "good.yaml").read_text())
VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_committed_schema_is_what_the_types_say() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert (REPOSITORY / SCHEMA).read_text() == rendered()


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "examples").glob("*/role.yaml")), ids=lambda file: file.parent.name
)
def test_examples_are_of_the_schema(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        if document["kind"] == "Role":
            assert list(VALIDATOR.iter_errors(document)) == []


def test_a_good_behaviour_is_of_the_schema() -> None:
    assert list(VALIDATOR.iter_errors(GOOD)) == []


@pytest.mark.parametrize(
    "behavior",
    [
        {"nods": {}},
        {"nodes": {"A": {"promt": "x"}}},
        {"nodes": {"A": {}}, "edges": [{"to": "A"}]},
        {"nodes": {"A": {}}, "edges": [{"from": "A", "to": "A", "weight": -1}]},
        {"nodes": {"A": {}}, "state": {"x": {"type": "text"}}},
    ],
)
def test_a_fault_of_form_is_seen_by_an_editor(behavior: dict[str, Any]) -> None:
    spec = {"template": {**GOOD["spec"]["template"], "behavior": behavior}}
    assert list(VALIDATOR.iter_errors({**GOOD, "spec": spec}))
