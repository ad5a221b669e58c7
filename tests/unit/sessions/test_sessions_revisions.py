"""Where a session's next turn is: every rule of the table, and who may ask for what."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.rooms import ACME, CAT_1, CAT_2, pod_entry, principal, put, revision_entry, role_entry, world

from rolehost_api.crd.rollout import SessionPolicy, Share
from rolehost_api.errors import Forbidden, NotFound, Unavailable
from rolehost_runtime.core.assignment import Traffic
from rolehost_runtime.core.departing import Departing
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.sessions.revisions import named, settle
from rolehost_runtime.gateway.tables import RoleEntry, Tables

NOW = 1_000_000
STABLE, OTHER = CAT_1, CAT_2
THIRD = revision_entry(sequence=3).name
MIGRATE, DRAIN, TERMINATE = SessionPolicy.MIGRATE_AT_TURN, SessionPolicy.DRAIN, SessionPolicy.TERMINATE


@pytest.fixture
def tables() -> Tables:
    made = world()
    put(made, revision_entry(sequence=2), revision_entry(sequence=3))
    put(made, pod_entry("p1"), pod_entry("p2", revision=OTHER), pod_entry("p3", revision=THIRD))
    return made


def left(policy: SessionPolicy, until_ms: int = 0, reason: str = "rollback") -> RoleEntry:
    return replace(role_entry(), leaving=(Departing(OTHER, policy, reason, until_ms),))


SHARED = replace(role_entry(follow=True), traffic=Traffic("r", 1, (Share(revision=OTHER, percent=5, tag="canary"),)))

CASES: Sequence[tuple[str, RoleEntry, str, dict[str, Any], tuple[str, str, bool]]] = [
    ("new", role_entry(), "", {}, (STABLE, "", True)),
    ("new, in a share", role_entry(), "", {"opens": OTHER}, (OTHER, "", True)),
    ("new, of a share whose revision is not seen yet", role_entry(), "", {"opens": "cat-9"}, (STABLE, "", True)),
    ("new, asked for", role_entry(), "", {"wanted": OTHER, "opens": THIRD}, (OTHER, "", False)),
    ("pinned", role_entry(), OTHER, {}, (OTHER, "", False)),
    ("pinned to stable, in a share by now", role_entry(), STABLE, {"opens": OTHER, "idle_ms": 1}, (STABLE, "", False)),
    ("asked for meanwhile", role_entry(), STABLE, {"wanted": OTHER}, (OTHER, "requested", False)),
    ("gone", role_entry(), "cat-9", {}, (STABLE, "revision_gone", False)),
    ("gone, in a share", role_entry(), "cat-9", {"opens": OTHER}, (OTHER, "revision_gone", False)),
    ("idle", role_entry(), OTHER, {"idle_ms": 900_001}, (STABLE, "idle", True)),
    ("idle, and its share is where it is", role_entry(), OTHER, {"idle_ms": 900_001, "opens": OTHER}, (OTHER, "", True)),
    ("idle on stable, in a share by now", role_entry(), STABLE, {"idle_ms": 900_001, "opens": OTHER}, (OTHER, "idle", True)),
    ("silent for as long as it may be", role_entry(), OTHER, {"idle_ms": 900_000}, (OTHER, "", False)),
    ("following", role_entry(follow=True), OTHER, {}, (STABLE, "follow", False)),
    ("following, on a share", SHARED, OTHER, {}, (OTHER, "", False)),
    ("rolled back", left(MIGRATE), OTHER, {}, (STABLE, "rollback", False)),
    ("promoted past it", left(MIGRATE, reason="promotion"), OTHER, {}, (STABLE, "promotion", False)),
    ("rolled back, and idle as well", left(MIGRATE), OTHER, {"idle_ms": 10**9}, (STABLE, "rollback", False)),
    ("rolled back, asked for by name", left(MIGRATE), OTHER, {"wanted": OTHER}, (OTHER, "", False)),
    ("drained", left(DRAIN), OTHER, {}, (OTHER, "", False)),
    ("drained, not over", left(DRAIN, NOW + 1), OTHER, {}, (OTHER, "", False)),
    ("drained, over", left(DRAIN, NOW), OTHER, {}, (STABLE, "rollback", False)),
    ("drained, and idle", left(DRAIN, NOW + 1), OTHER, {"idle_ms": 900_001}, (STABLE, "idle", True)),
    ("withdrawn", left(TERMINATE), OTHER, {}, (STABLE, "rollback", False)),
    ("another one is left", left(MIGRATE), THIRD, {}, (THIRD, "", False)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "pinned", "more", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_next_turns_revision(
    tables: Tables, role: RoleEntry, pinned: str, more: dict[str, Any], expected: tuple[str, str, bool]
) -> None:
    settled = settle(tables, role, pinned, now_ms=NOW, **more)
    assert (settled.revision.name, settled.reason, settled.is_assigned) == expected


def test_a_revision_whose_last_pod_is_gone_is_gone_but_for_the_stable_one(tables: Tables) -> None:
    tables.pods.drop(("p2",))
    assert settle(tables, role_entry(), OTHER).reason == "revision_gone"
    tables.pods.drop(("p1",))
    assert settle(tables, role_entry(), STABLE).reason == ""


def test_without_a_stable_revision_who_is_pinned_stays_and_nobody_comes(tables: Tables) -> None:
    assert settle(tables, role_entry(stable=""), OTHER).revision.name == OTHER
    with pytest.raises(Unavailable):
        settle(tables, role_entry(stable=""), "", opens=OTHER)


# ── who may name one ────────────────────────────────────────────────────────────────


def holder(revision: str = "") -> Principal:
    """Of a token of an end user's own."""
    return replace(principal(ACME, user="u-17"), until_ms=NOW, revision=revision)


def test_a_tenants_own_keys_may_name_any_for_whomever_they_act(tables: Tables) -> None:
    for who in (principal(ACME), principal(ACME, user="u-17")):
        assert named(tables, role_entry(), who, "@r2") == OTHER
        assert named(tables, role_entry(), who, "") == ""
        with pytest.raises(NotFound):
            named(tables, role_entry(), who, "r9")


@pytest.mark.parametrize("wanted", ["r1", "r2", "@r2", OTHER, "r9", "sha256:000000"])
def test_the_holder_of_a_token_names_none_and_is_not_told_which_there_are(tables: Tables, wanted: str) -> None:
    assert named(tables, role_entry(), holder(), "") == ""
    with pytest.raises(Forbidden) as raised:
        named(tables, role_entry(), holder(), wanted)
    assert raised.value.code == "revision_not_allowed"


def test_a_testers_token_gives_its_revision_without_a_word_and_no_other(tables: Tables) -> None:
    for wanted in ("", "r2", "@r2", OTHER):
        assert named(tables, role_entry(), holder("r2"), wanted) == OTHER
    for wanted in ("r1", "r9"):
        with pytest.raises(Forbidden):
            named(tables, role_entry(), holder("r2"), wanted)


def test_a_testers_token_outlives_its_revision_as_anybodys(tables: Tables) -> None:
    assert named(tables, role_entry(), holder("r9"), "") == ""
