"""The digest goes into the manifest, and nothing else of it changes."""

import pytest
import yaml

from rolehost.cli.edit import with_digest
from rolehost_api.errors import BadRequest

HEAD = "# mine\napiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}   # 猫\nspec:\n  template:\n    persona: {system: 你是一只猫}\n"
NEW = "sha256:" + "a" * 64
OLD = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("logic", "after"),
    [
        pytest.param("    logic: {entrypoint: 'a:b'}  # x\n", f"    logic: {{bundle: {NEW}, entrypoint: 'a:b'}}  # x\n", id="flow"),
        pytest.param(
            "    logic:\n      # why\n      entrypoint: a:b\n", f"    logic:\n      # why\n      bundle: {NEW}\n      entrypoint: a:b\n", id="block"
        ),
        pytest.param(f"    logic: {{entrypoint: 'a:b', bundle: {OLD} }}\n", f"    logic: {{entrypoint: 'a:b', bundle: {NEW} }}\n", id="old"),
        pytest.param(f"    logic:\n      bundle: '{OLD}'  # c\n      entrypoint: a:b\n", f"    logic:\n      bundle: {NEW}  # c\n      entrypoint: a:b\n", id="quoted"),
        pytest.param("    logic: {bundle: '', entrypoint: 'a:b'}\n", f"    logic: {{bundle: {NEW}, entrypoint: 'a:b'}}\n", id="empty-text"),
        pytest.param("    logic:\n      bundle:\n      entrypoint: a:b\n", f"    logic:\n      bundle: {NEW}\n      entrypoint: a:b\n", id="no-value"),
    ],
)  # fmt: skip
def test_only_the_digest_changes(logic: str, after: str) -> None:
    edited = with_digest(HEAD + logic, "cat", NEW)
    assert edited == HEAD + after
    assert yaml.safe_load(edited)["spec"]["template"]["logic"] == {"bundle": NEW, "entrypoint": "a:b"}


def test_twice_is_the_same_as_once() -> None:
    once = with_digest(HEAD + "    logic: {entrypoint: 'a:b'}\n", "cat", NEW)
    assert with_digest(once, "cat", NEW) == once


def test_the_right_one_of_several_documents_is_edited() -> None:
    dog = HEAD.replace("name: cat", "name: dog") + "    logic: {entrypoint: 'd:d'}\n"
    text = f"{dog}---\n{HEAD}    logic: {{entrypoint: 'c:c'}}\n"
    assert with_digest(text, "cat", NEW) == text.replace("{entrypoint: 'c:c'}", f"{{bundle: {NEW}, entrypoint: 'c:c'}}")


def test_a_role_without_logic_is_an_error_and_no_guess() -> None:
    with pytest.raises(BadRequest, match="no Role cat with logic"):
        with_digest(HEAD, "cat", NEW)
