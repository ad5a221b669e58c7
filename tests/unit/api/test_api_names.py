"""Names stay valid and apart, ids are hashed with everything that keeps tenants apart."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api import identity, names
from rolehost_api.errors import BadRequest

subdomains = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}", fullmatch=True)  # fmt: skip
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@given(subdomains)
def test_revision_names_are_dns_labels(role: str) -> None:
    name = names.revision_name(role, "0" * 64)
    assert len(name) <= 63
    assert LABEL.fullmatch(name)


@given(subdomains, subdomains)
def test_different_roles_have_different_names(one: str, other: str) -> None:
    assert (names.shortened(one, 52) == names.shortened(other, 52)) == (one == other)


@given(st.lists(st.text(max_size=20), min_size=4, max_size=4), st.lists(st.text(max_size=20), min_size=4, max_size=4))
def test_session_keys_differ_whenever_a_part_does(one: list[str], other: list[str]) -> None:
    def key(parts: list[str]) -> str:
        return identity.session_key(*parts)

    assert (key(one) == key(other)) == (one == other)


def test_moving_a_border_between_parts_is_another_session() -> None:
    assert identity.session_key("u", "ab", "c", "d") != identity.session_key("u", "a", "bc", "d")


@pytest.mark.parametrize("raw", ["", "a b", "a\n", "ü", "x" * 129, None, 7, "\x7f"])
def test_bad_session_ids_are_refused(raw: object) -> None:
    with pytest.raises(BadRequest) as refused:
        identity.session_id(raw)
    assert refused.value.code == "invalid_session_id"


def test_a_key_is_kept_as_its_hash_only() -> None:
    key_id, key, digest = identity.new_key()
    assert key.startswith(f"rh_{key_id}_")
    assert digest == identity.key_hash(key)
    assert len(digest) == 64
    assert key not in digest


@pytest.mark.parametrize(("raw", "name"), [("Storyteller", "storyteller"), ("a.b-c", "a.b-c")])
def test_role_names_ignore_case(raw: str, name: str) -> None:
    assert identity.role_name(raw) == name


@pytest.mark.parametrize("raw", ["", "../x", "a/b", "-a", "a" * 254, "龙"])
def test_bad_role_names_are_refused(raw: str) -> None:
    with pytest.raises(BadRequest):
        identity.role_name(raw)
