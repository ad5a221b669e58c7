"""A file of scenarios is held to its form, and what is wrong is told in its place."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rolehost.cli.schema import EVAL_SCHEMA, rendered_eval
from rolehost.evals.reading import check, load
from rolehost.evals.schema import schema
from rolehost_api.errors import InvalidManifest

REPOSITORY = Path(__file__).parents[3]
TURN = "  - say: hi\n    expect: {contains: [moon]}\n"
GOOD = f"role: role.yaml\nscenarios:\n- name: a\n  turns:\n{TURN}"
VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_committed_schema_is_what_the_types_say() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert (REPOSITORY / EVAL_SCHEMA).read_text() == rendered_eval()


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "examples").glob("*/eval.yaml")), ids=lambda file: file.parent.name
)
def test_examples_are_good(file: Path) -> None:
    assert check(file.read_text()) == []
    assert list(VALIDATOR.iter_errors(yaml.safe_load(file.read_text()))) == []


def test_what_the_page_shows_is_good() -> None:
    text = (REPOSITORY / "docs" / "evals.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert check(text) == []


def test_a_good_file_has_its_defaults() -> None:
    form = load(GOOD)
    assert (form.repeats, form.atOnce, form.minPassRate, form.seed) == (1, 4, 1.0, 0)
    assert form.scenarios[0].turns[0].expect.judge.mark == 7


EXPECT = "scenarios[0].turns[0].expect"


@pytest.mark.parametrize(
    ("before", "after", "path", "code"),
    [
        ("contains: [moon]", "contain: [moon]", f"{EXPECT}.contain", "unknown_field"),
        ("contains: [moon]", "contains: moon", f"{EXPECT}.contains", "wrong_type"),
        ("contains: [moon]", "regex: ['(']", f"{EXPECT}.regex[0]", "invalid_regex"),
        ("contains: [moon]", "finishReason: stopped", f"{EXPECT}.finishReason", "unknown_word"),
        ("contains: [moon]", "memory: {kind: longer}", f"{EXPECT}.memory.kind", "unknown_word"),
        ("contains: [moon]", "transition: {}", f"{EXPECT}.transition", "nothing_expected"),
        ("contains: [moon]", "judge: {pass: 3}", f"{EXPECT}.judge", "nothing_expected"),
        ("contains: [moon]", "judge: {rubric: kind, pass: 11}", f"{EXPECT}.judge.pass", "out_of_bounds"),
        ("contains: [moon]", "error: busy, node: A", f"{EXPECT}.error", "contradiction"),
        ("contains: [moon]", "contains: [a], notContains: [a]", f"{EXPECT}.notContains", "contradiction"),
        (TURN, "  - say: hi\n", "scenarios[0]", "nothing_expected"),
        ("- name: a", f"- name: a\n  turns:\n{TURN}- name: a", "scenarios[1].name", "duplicate"),
        ("role: role.yaml\n", "", "", "missing_field"),
        ("role: role.yaml\n", "role: role.yaml\nrepeats: 0\n", "repeats", "out_of_bounds"),
        ("role: role.yaml\n", "role: role.yaml\nrepeats: many\n", "repeats", "wrong_type"),
    ],
)
def test_what_is_wrong_is_told_in_its_place(before: str, after: str, path: str, code: str) -> None:
    (finding,) = check(GOOD.replace(before, after))
    assert (finding.path, finding.code) == (f"eval.{path}".rstrip("."), code)
    assert finding.line is not None
    assert "^" in finding.excerpt


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = GOOD.replace("contains: [moon]", "regex: ['(', ')'], finishReason: x")
    with pytest.raises(InvalidManifest) as invalid:
        load(text, "my.yaml")
    assert [one.code for one in invalid.value.findings] == ["invalid_regex", "invalid_regex", "unknown_word"]


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "role: x\n---\nrole: y", "{" * 2000])
def test_what_is_no_file_of_scenarios_is_refused(text: str) -> None:
    assert check(text)


@pytest.mark.parametrize("expect", [{"contain": ["x"]}, {"judge": {"pass": 11}}, {"state": []}])
def test_a_fault_of_form_is_seen_by_an_editor(expect: Any) -> None:
    document = yaml.safe_load(GOOD)
    document["scenarios"][0]["turns"][0]["expect"] = expect
    assert list(VALIDATOR.iter_errors(document))
