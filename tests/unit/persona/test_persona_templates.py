"""The personas that are built in: frozen, whole, and changed field by field by a Role that names one."""

import doctest
import hashlib
import json
from typing import Any

import pytest

from rolehost_api.crd.role import Persona
from rolehost_api.manifest import check
from rolehost_api.persona import resolving, templates
from rolehost_api.persona.language import names
from rolehost_api.persona.resolving import resolved
from rolehost_api.persona.templates import NAMES, template
from rolehost_runtime.core.dsl import personas
from rolehost_runtime.core.dsl.manifests import COMPILER

RECORDED = {
    "companion_v1": "b362cc0491c3fe3e",
    "fantasy_narrator_v1": "df3ae38aac4e2a3c",
    "support_v1": "470d7b0e2e0a580e",
    "tutor_v1": "32526b07e9c7116a",
}
"""Of one that is out, this never changes: revisions are hashed by its name. What is to be better is a new version."""


def filled(name: str, **more: Any) -> Persona:
    needed = {one: f"<{one}>" for one, variable in template(name).variables.items() if variable.default is None}
    return Persona(template=name, variables={**needed, **more.pop("variables", {})}, **more)


def digest(name: str) -> str:
    made = template(name)
    parts = (made.system, made.greeting, *(f"{one}={variable.default}" for one, variable in made.variables.items()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def test_no_template_that_is_out_was_changed() -> None:
    assert {name: digest(name) for name in NAMES} == RECORDED


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_who_it_is_and_reads_all_its_variables_and_no_others(name: str) -> None:
    made = template(name)
    assert names(made.system) | names(made.greeting) == made.variables.keys()
    texts, findings = resolved(filled(name))
    assert findings == []
    assert texts.system.startswith("You are ")
    assert texts.greeting
    for variable, about in made.variables.items():
        assert about.about
        if about.default is None:
            assert f"<{variable}>" in texts.system


@pytest.mark.parametrize("name", NAMES)
def test_what_a_template_needs_is_asked_for(name: str) -> None:
    needed = [one for one, variable in template(name).variables.items() if variable.default is None]
    findings = resolved(Persona(template=name))[1]
    assert [one.message.split(" is missing")[0] for one in findings] == needed
    assert all(one.field == "variables" for one in findings)


def test_a_field_stands_in_place_of_the_templates_and_may_hold_it() -> None:
    plain = resolved(filled("tutor_v1"))[0]
    other = resolved(filled("tutor_v1", greeting="Hi! {{ subject }}?"))[0]
    assert (other.system, other.greeting) == (plain.system, "Hi! <subject>?")
    more = resolved(filled("tutor_v1", system="{{ original }}\n\nSpeak like a pirate."))[0]
    assert more == (plain.system + "\n\nSpeak like a pirate.", plain.greeting)
    assert resolved(filled("tutor_v1", system="You are a cat."))[0].system == "You are a cat."


def test_a_variable_stands_in_place_of_the_templates() -> None:
    assert "You are Bob, a patient tutor" in resolved(filled("tutor_v1", variables={"name": "Bob"}))[0].system
    assert "Your manner" not in resolved(filled("tutor_v1", variables={"style": ""}))[0].system


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"template": "tutor_v2"}, ("template", "there is no template 'tutor_v2'", "Did you mean tutor_v1?")),
        (
            {"template": "tutor_v1", "variables": {"subject": "x", "lvel": "y"}},
            ("variables.lvel", "is read by no text", "Did you mean level?"),
        ),
        (
            {"system": "{{ orginal }}", "template": "tutor_v1", "variables": {"subject": "x"}},
            (
                "system",
                "1:1: there is no variable 'orginal'",
                "Did you mean original? Others go under persona.variables",
            ),
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_to_write_instead(part: dict[str, Any], said: tuple[str, str, str]) -> None:
    role = {"apiVersion": "rolehost.io/v1alpha1", "kind": "Role", "metadata": {"name": "a"}}
    text = json.dumps({**role, "spec": {"template": {"persona": part}}})
    (found,) = check(text, compiler=COMPILER)
    assert (found.path, found.message, found.hint) == (f"spec.template.persona.{said[0]}", *said[1:])
    assert found.line == 1


@pytest.mark.parametrize("text", ["{{ user }} said {% raw %}", "{{roll:d6}}", "{{"])
def test_without_template_and_variables_braces_mean_nothing(text: str) -> None:
    assert resolved(Persona(system=text)) == ((text, ""), [])


def test_nothing_of_a_text_with_a_fault_is_used() -> None:
    texts, findings = resolved(Persona(system="{{ x }}", greeting="{{ a }}", variables={"a": "b"}))
    assert texts == ("", "")
    assert [one.field for one in findings] == ["system"]


@pytest.mark.parametrize("module", [templates, resolving, personas])
def test_worked_examples_hold(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
