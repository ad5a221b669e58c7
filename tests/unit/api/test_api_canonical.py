"""The hash is over what was declared: defaults make no revisions, changes do."""

import msgspec
import pytest

from rolehost_api.canonical import HASH_VERSION, declared, template_hash
from rolehost_api.crd.role import RoleTemplate
from rolehost_api.errors import BadRequest

SMALL = {"persona": {"system": "You are a cat."}}
RECORDED = "fcfcd6470efb5b2be000c644d276349df109e88218c44d65762d6c85f9ea4bac"
"""The hash of SMALL under version 1, as revisions out there carry it. It never changes."""


def template(value: object) -> RoleTemplate:
    return msgspec.convert(value, RoleTemplate)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"permissions": ["model.call", "memory.read", "memory.write"]}, id="default-permissions"),
        pytest.param({"model": {"backend": "default", "name": "", "params": {}}}, id="default-model"),
        pytest.param({"state": {"schemaVersion": 1, "maxBytes": 65536}, "resources": {}}, id="default-state"),
        pytest.param({"someFieldOfTheFuture": 1}, id="unknown-field"),
    ],
)
def test_defaults_make_no_revision(extra: dict[str, object]) -> None:
    assert template_hash(template(SMALL | extra), {}) == RECORDED


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(SMALL | {"permissions": ["model.call"]}, id="permissions"),
        pytest.param(SMALL | {"model": {"params": {"temperature": 0.5}}}, id="params"),
        pytest.param({"persona": {"system": "You are a cat.", "greeting": "Hm."}}, id="greeting"),
        pytest.param(SMALL | {"logic": {"inline": "pass"}}, id="logic"),
    ],
)
def test_changes_make_a_revision(changed: object) -> None:
    assert template_hash(template(changed), {}) != RECORDED


def test_frozen_contents_count() -> None:
    assert template_hash(template(SMALL), {"persona/system": "a"}) != template_hash(
        template(SMALL), {"persona/system": "b"}
    )


def test_the_order_of_keys_does_not_count() -> None:
    one = template(SMALL | {"model": {"params": {"a": 1, "b": 2}}})
    other = template(SMALL | {"model": {"params": {"b": 2, "a": 1}}})
    assert template_hash(one, {"x": "1", "y": "2"}) == template_hash(other, {"y": "2", "x": "1"})


def test_declared_keeps_the_wire_names() -> None:
    assert declared(template(SMALL | {"logic": {"configMapRef": {"name": "code"}}}))["logic"] == {
        "configMapRef": {"name": "code"}
    }


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(BadRequest):
        template_hash(template(SMALL), {}, HASH_VERSION + 1)
