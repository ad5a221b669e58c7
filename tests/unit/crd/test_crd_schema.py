"""The rendered schemas keep the conventions of the API, field by field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import Struct

from rolehost_api.crd.kinds import KINDS
from rolehost_api.crd.reference import reference
from rolehost_api.crd.render import crds, main, rendered, template
from rolehost_api.crd.schema import Schema, structural

ROOT = Path(__file__).parents[3]


def walked(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from walked(f"{path}.{name}", part)
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from walked(f"{path}[]", schema[name])


def every_field() -> list[Any]:
    found = []
    for definition in crds():
        [version] = definition["spec"]["versions"]
        for path, schema in walked(definition["spec"]["names"]["kind"], version["schema"]["openAPIV3Schema"]):
            if not path.endswith((".metadata", ".apiVersion", ".kind")):
                found.append(pytest.param(path, schema, id=path))
    return found


@pytest.mark.parametrize(("path", "schema"), every_field())
def test_every_field_is_described_typed_and_bounded(path: str, schema: Schema) -> None:
    assert schema.get("description", "").strip(), f"{path} has no description"
    match schema["type"]:
        case "string":
            assert "maxLength" in schema or "enum" in schema or len(schema.get("pattern", "")) > 0
        case "integer":
            assert "minimum" in schema
        case "array":
            assert "maxItems" in schema
            assert "x-kubernetes-list-type" in schema
        case "object":
            assert "properties" in schema or "maxProperties" in schema
        case other:
            assert other == "boolean", f"{path} is a {other}: no floats, nothing untyped"


def test_no_default_reaches_a_template_or_a_status() -> None:
    for param in every_field():
        path, schema = param.values
        if ".template" in path or ".status" in path:
            assert "default" not in schema, path


def test_defaults_of_other_fields_are_shown_by_the_apiserver() -> None:
    fields = {param.values[0]: param.values[1] for param in every_field()}
    assert fields["Role.spec.sessions.turnTimeoutSeconds"]["default"] == 30
    assert fields["Role.spec.logs"]["default"] == "Tenant"


def test_a_default_that_is_not_in_the_schema_is_said_in_words() -> None:
    fields = {param.values[0]: param.values[1] for param in every_field()}
    assert fields["Role.spec.template.model.backend"]["description"].endswith("Default: default.")


def test_a_float_cannot_become_a_field() -> None:
    class Wrong(Struct):
        share: float

    with pytest.raises(TypeError, match="no floats"):
        structural(Wrong)


def test_lists_with_keys_merge_by_them() -> None:
    fields = {param.values[0]: param.values[1] for param in every_field()}
    assert fields["Role.spec.slo.objectives"]["x-kubernetes-list-map-keys"] == ["name"]


def test_the_chart_wraps_each_definition_in_its_switches() -> None:
    for definition in crds():
        lines = template(definition).splitlines()
        assert lines[1] == "{{- if .Values.crds.enabled }}"
        assert lines[-1] == "{{- end }}"
        plain = [line for line in lines if "{{" not in line and "helm.sh/" not in line]
        assert yaml.safe_load("\n".join(plain)) == definition


def test_the_reference_names_every_kind_and_every_rule() -> None:
    page = reference()
    for kind in KINDS:
        assert f"## {kind.cls.__name__}\n" in page
    assert "| `minReplicas` | integer | `1` | 1 to 1000 |" in page
    assert "- Rule: give exactly one of bundle, inline and configMapRef." in page


def test_rendered_files_are_written_once_and_then_up_to_date(tmp_path: Path) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    assert all((tmp_path / path).read_text() == text for path, text in rendered().items())


def test_the_committed_files_are_what_the_types_say() -> None:
    assert main(["--check", "--root", str(ROOT)]) == 0
