"""A revision is bound only where its content is what its hash and its name say."""

from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.rooms import EVIL, revision_entry

from rolehost_api.canonical import template_hash
from rolehost_api.crd.role import Model, Persona, RoleTemplate
from rolehost_api.names import revision_name
from rolehost_runtime.gateway.link import bind
from rolehost_runtime.gateway.link.bind import Verdicts, greeting_of, mismatch, persona_of
from rolehost_runtime.gateway.tables import RevisionEntry, Tenant

GOOD = revision_entry()


def with_spec(**changes: object) -> RevisionEntry:
    return changed(GOOD, spec=replace(GOOD.spec, **changes))


def test_a_revision_as_the_operator_makes_it_is_bound() -> None:
    assert mismatch(GOOD) is None


@pytest.mark.parametrize(
    "revision",
    [
        pytest.param(with_spec(template=RoleTemplate(persona=Persona(system="You are a dog."))), id="template"),
        pytest.param(with_spec(frozen={"logic/logic.py": "import os"}), id="frozen"),
        pytest.param(with_spec(hash="0" * 64), id="hash"),
        pytest.param(with_spec(role_name="dog"), id="role"),
        pytest.param(changed(GOOD, name="cat-0123456789"), id="name"),
        pytest.param(with_spec(template=RoleTemplate(model=Model(params={"seed": 2**60}))), id="no-canonical-json"),
    ],
)
def test_what_differs_from_its_hash_or_name_is_refused(revision: RevisionEntry) -> None:
    fault = mismatch(revision)
    assert fault is not None
    assert fault.code == "revision_mismatch"
    assert len(fault.hint) <= 256


def templated(tenant: Tenant = GOOD.tenant, **persona: Any) -> RevisionEntry:
    """As the operator makes one: its hash is that of what the Role says."""
    template = RoleTemplate(persona=Persona(**persona))
    digest = template_hash(template, {})
    spec = replace(GOOD.spec, template=template, frozen={}, hash=digest)
    return changed(GOOD, tenant=tenant, name=revision_name(spec.role_name, digest), spec=spec)


def test_a_template_is_filled_in_where_its_revision_is_served() -> None:
    revision = templated(template="tutor_v1", variables={"subject": "tides"}, greeting="{{ subject }}?")
    assert mismatch(revision) is None
    (system,) = persona_of(revision)
    assert "a patient tutor of tides." in system
    assert greeting_of(revision) == "tides?"
    assert persona_of(revision)[0] is system, "it is filled in once"


def test_two_tenants_with_the_same_persona_share_nothing_of_it() -> None:
    same: dict[str, Any] = {"system": "You are {{ who }}.", "variables": {"who": "a cat"}}
    ours, theirs = templated(**same), templated(EVIL, **same)
    assert ours.spec.hash == theirs.spec.hash
    assert persona_of(ours) == persona_of(theirs)
    assert persona_of(ours)[0] is not persona_of(theirs)[0]


@pytest.mark.parametrize(
    ("persona", "where"),
    [
        ({"system": "{{ ''.__class__ }}", "variables": {"a": "b"}}, "spec.template.persona.system"),
        ({"template": "tutor_v99"}, "spec.template.persona.template"),
        ({"template": "tutor_v1"}, "spec.template.persona.variables"),
        ({"system": "{{ a }}" * 9_000, "variables": {"a": "x" * 8_192}}, "spec.template.persona.system"),
    ],
)
def test_a_persona_that_cannot_be_filled_in_is_bound_nowhere_and_says_nothing(
    persona: dict[str, Any], where: str
) -> None:
    revision = templated(**persona)
    fault = mismatch(revision)
    assert fault is not None
    assert (fault.code, fault.where) == ("invalid_persona", where)
    assert len(fault.hint) <= 256
    assert (persona_of(revision), greeting_of(revision)) == (("",), "")


def test_an_unknown_recipe_is_refused_as_such() -> None:
    fault = mismatch(with_spec(hash_version=99))
    assert fault is not None
    assert (fault.code, "99" in fault.hint) == ("revision_unknown_recipe", True)


def test_an_older_recipe_is_used_where_the_revision_was_made_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def recipe(template: RoleTemplate, frozen: object, version: int) -> str:
        asked.append(version)
        return GOOD.spec.hash

    monkeypatch.setattr(bind, "template_hash", recipe)
    assert mismatch(with_spec(hash_version=7)) is None
    assert asked == [7]


def test_a_verdict_is_worked_out_once_for_a_row_and_again_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RevisionEntry] = []

    def noted(revision: RevisionEntry) -> object:
        seen.append(revision)
        return mismatch(revision)

    monkeypatch.setattr(bind, "mismatch", noted)
    verdicts = Verdicts()
    edited = with_spec(frozen={"a": "b"})
    faults = [verdicts.fault(one) for one in (GOOD, GOOD, edited, edited, GOOD)]
    assert [fault.code if fault else "" for fault in faults] == ["", "", "revision_mismatch", "revision_mismatch", ""]
    assert seen == [GOOD, edited, GOOD]


def test_verdicts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind, "MAX_CHECKED", 2)
    verdicts = Verdicts()
    for number in range(5):
        verdicts.fault(revision_entry(sequence=1 + number))
    assert len(verdicts._known) == 2
