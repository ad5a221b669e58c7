"""`check` and the apiserver are one judge: what one refuses the other refuses, at the same field.

The apiserver knows the CRDs' schema and CEL, `check` knows the types and its rules in
Python. Each manifest here has at most one fault. What `check` refuses on top, on purpose,
is not here: aliases, a field without a value (which a create drops and an apply refuses),
`generateName`, whole numbers that JSON cannot carry, sizes beyond reason.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support.apiserver import ApiServer
from tests.support.judging import Judge
from tests.support.manifests import BODY, GOOD, RULES, UNREADABLE, WRITTEN, Object, at, put, without

from rolehost_api.crd.kinds import KINDS
from rolehost_api.crd.render import crd
from rolehost_api.manifest import check

SPECS = {
    kind.cls.__name__: crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for kind in KINDS
    if kind.cls.__name__ != "RoleRevision"
}

# ── every bound of the schema, from both sides ──────────────────────────────────────


def leaves(schema: Object, path: str) -> Iterator[tuple[str, Object]]:
    """Every field and every list of the schema; [0] stands for a list's items."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from leaves(part, f"{path}.{name}")
    if "items" in schema:
        yield from leaves(schema["items"], f"{path}[0]")


BOUNDED = {
    f"{kind} {path}": part
    for kind, schema in SPECS.items()
    for path, part in leaves(schema["properties"]["spec"], "spec")
}


def home(where: str) -> Object:
    """The good manifest that holds this field."""
    kind, _, path = where.partition(" ")
    found = [one for one in GOOD.values() if one["kind"] == kind and at(one, path) is not None]
    assert found, f"no good manifest here has {where}"
    return found[0]


def stretched(value: str, length: int) -> str:
    return value + value[-1:] * (length - len(value)) if value else "x" * length


def items(value: list[Any], count: int) -> list[Any]:
    """So many, and none twice by its name."""
    first = value[0]
    if (
        isinstance(first, dict) and "id" in first
    ):  # with no more than it must have: so many whole ones are another fault
        return [{"id": f"n{n}", "content": "x"} for n in range(count)]
    return [{**first, "name": f"n{n}"} if isinstance(first, dict) and "name" in first else first for n in range(count)]


def values(schema: Object, value: Any) -> Iterator[tuple[str, Any]]:
    """What to put in the place of a good value, on both sides of every bound."""
    match schema["type"]:
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            yield from (("least", low), ("too-little", low - 1), ("most", high), ("too-much", high + 1))
            yield from (("text", "many"), ("digits", str(low)), ("fraction", low + 0.5), ("truth", True))
        case "boolean":
            yield from (("true", True), ("false", False), ("word", "true"), ("one", 1))
        case "string":
            if "enum" in schema:
                yield from ((word, word) for word in schema["enum"])
                yield from (("no-such-word", "Sometimes"), ("other-case", schema["enum"][0].lower()))
            else:
                longest = schema["maxLength"]
                yield from (("none", ""), ("longest", stretched(value, longest)))
                yield from (("too-long", stretched(value, longest + 1)), ("wide", stretched(value + "龙", longest)))
            if "pattern" in schema:
                yield from (("spaced", f"a {value}"), ("line-end", f"{value}\n"), ("led-astray", f"-{value}"))
            yield from (("number", 7), ("truth", False))
        case "array":
            yield from ((f"{count}-items", items(value, count)) for count in (0, schema.get("maxItems", 1)))
            yield "too-many", items(value, schema["maxItems"] + 1)
        case "object":
            if "maxProperties" in schema:
                yield from (
                    (f"{count}-entries", {f"p{n}": n for n in range(count)})
                    for count in (0, schema["maxProperties"], schema["maxProperties"] + 1)
                )
            else:
                yield "a-typo", {**value, "tpyo": 1}
            yield "a-list", []
        case _:
            raise AssertionError(f"a type without values to try: {schema}")
    yield ("a-word", "x") if schema["type"] == "object" else ("an-object", {})


BOUNDS = {
    f"{where.replace(' spec', '')}={label}": put(home(where), where.partition(" ")[2], value)
    for where, schema in BOUNDED.items()
    for label, value in values(schema, at(home(where), where.partition(" ")[2]))
}


REQUIRED = {
    f"without-{where}": without(home(where), where.partition(" ")[2])
    for where in BOUNDED
    if "." in where.partition(" ")[2] and not where.endswith("]")
}
FAULTS = {**REQUIRED, **RULES}
CEL = [
    rule["message"]
    for schema in SPECS.values()
    for _, part in leaves(schema, "")
    for rule in part.get("x-kubernetes-validations", ())
]


# ── the trial ───────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def judge(role_api: ApiServer) -> Iterator[Judge]:
    made = Judge(role_api, role_api.namespace("judged"))
    yield made
    made.close()


def same(field: str, place: str) -> bool:
    """Whether the apiserver's field is the place that `check` names, or a part that holds it."""
    return place == field or place.startswith((f"{field}.", f"{field}[")) or place.rpartition(".")[2] == field


def written(manifest: Object) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(manifest, Dumper=Plain, allow_unicode=True)


def tried(judge: Judge, text: str, kind: str = "Role", name: str = "cat") -> None:
    findings = check(text)
    created, applied = judge.create(kind, text), judge.apply(kind, name, text)
    said = f"check: {[str(one) for one in findings]}\ncreate: {created.message}\napply: {applied.message}"
    assert created.good == applied.good == (not findings), said
    named = created.fields or applied.fields
    if named:
        places = {finding.path for finding in findings}
        assert all(any(same(field, place) for place in places) for field in named), said
        assert all(any(same(field, place) for field in named) for place in places), said


def tried_object(judge: Judge, manifest: Object) -> None:
    tried(judge, written(manifest), manifest["kind"], manifest["metadata"]["name"])


@pytest.mark.parametrize("case", GOOD)
def test_good_manifests_are_good(judge: Judge, case: str) -> None:
    tried_object(judge, GOOD[case])
    assert check(written(GOOD[case])) == []


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_are_the_same(judge: Judge, case: str) -> None:
    tried_object(judge, BOUNDS[case])


@pytest.mark.parametrize("case", FAULTS)
def test_rules_are_the_same(judge: Judge, case: str) -> None:
    tried_object(judge, FAULTS[case])


def test_every_rule_of_the_schema_refuses_something_here(judge: Judge) -> None:
    said = "\n".join(judge.create(one["kind"], written(one)).message for one in RULES.values())
    assert len(CEL) >= 9
    assert [message for message in CEL if message not in said] == []


@pytest.mark.parametrize("case", WRITTEN)
def test_what_is_written_is_read_the_same(judge: Judge, case: str) -> None:
    tried(judge, WRITTEN[case])


@pytest.mark.parametrize("word", UNREADABLE)
def test_numbers_that_are_none_are_refused(judge: Judge, word: str) -> None:
    """The apiserver cannot decode them, so it says no field."""
    for field in ("displayName: ", "revisionHistoryLimit: "):
        text = f"{BODY}  {field}{word}\n"
        assert [judge.create("Role", text).good, judge.apply("Role", "cat", text).good, check(text) == []] == [
            False
        ] * 3


@pytest.mark.parametrize("where", BOUNDED)
def test_a_field_without_a_value_is_a_slip(judge: Judge, where: str) -> None:
    """What the apiserver does with it depends on the verb and on the field's default; `check` refuses it."""
    path = where.partition(" ")[2]
    findings = check(written(put(home(where), path, None)))
    assert findings
    assert all(same(finding.path, path) or same(path, finding.path) for finding in findings)
