"""The small parts of the shell that need no cluster: queue, claim, settings, preview, objects."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st
from tests.support.observing import NOON, PLATFORM, role

from rolehost_api.errors import BadRequest, InvalidManifest
from rolehost_api.link.root_secret import attestation_root
from rolehost_api.names import LINK_SECRET_KEY
from rolehost_operator import clock
from rolehost_operator.commands import plan
from rolehost_operator.handlers import shell
from rolehost_operator.handlers.lanes import Lanes
from rolehost_operator.handlers.queue import KeyedQueue, Reason
from rolehost_operator.handlers.upgrades import Upgrades
from rolehost_operator.kube.lease import DURATION, MARGIN, Claim
from rolehost_operator.observed import Key
from rolehost_operator.preview import preview
from rolehost_operator.settings import public_keys
from rolehost_operator.telemetry import Metrics
from rolehost_operator.waves import Wave

# ── the queue ───────────────────────────────────────────────────────────────────────


async def test_a_key_waits_once_however_often_it_rings() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    for _ in range(3):
        queue.ring("a")
    assert await queue.take() == "a"
    assert len(queue) == 0


async def test_a_ring_during_the_work_is_kept_and_nobody_else_gets_the_key() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    queue.ring("a")
    await queue.take()
    queue.ring("a")
    queue.ring("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.take() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_edits_and_news_take_turns_and_go_before_thousands_that_nothing_happened_to() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    for number in range(9):
        queue.ring(f"a{number}", Reason.NONE)
    queue.ring("a7")
    queue.ring("b")
    queue.ring("a7", Reason.NONE)
    queue.ring("a8", Reason.EDIT)
    queue.ring("a8")
    assert len(queue) == 10
    taken = [await queue.take() for _ in range(10)]
    assert taken == ["a8", "a7", "b", "a0", "a1", "a2", "a3", "a4", "a5", "a6"]
    assert len(queue) == 0


async def test_no_tenants_edits_hold_up_anothers_news() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    for number in range(99):
        queue.ring(f"a{number}", Reason.EDIT)
    queue.ring("b")
    assert "b" in [await queue.take(), await queue.take()]


async def test_an_edit_overtakes_the_news_of_a_hundred_tenants() -> None:
    queue: KeyedQueue[int] = KeyedQueue(lane=lambda key: key)
    for number in range(100):
        queue.ring(number)
    queue.ring(100, Reason.EDIT)
    assert 100 in [await queue.take(), await queue.take()]


async def test_what_rings_during_the_work_comes_back_for_its_gravest_reason() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    queue.ring("a", Reason.NONE)
    queue.ring("b")
    assert [await queue.take(), await queue.take()] == ["b", "a"]
    queue.ring("a", Reason.NONE)
    queue.ring("b", Reason.EDIT)
    queue.ring("b")
    queue.done("a")
    queue.done("b")
    assert [await queue.take(), await queue.take()] == ["b", "a"]


RINGS = st.tuples(st.sampled_from("abcdef"), st.sampled_from(Reason))


@given(st.lists(st.one_of(RINGS, st.sampled_from(["take", "done"])), max_size=60))
def test_every_key_that_rings_is_taken_once_and_of_two_one_is_an_edit_and_one_news(steps: list[Any]) -> None:
    async def walk() -> None:
        queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: "one")
        rung: dict[str, Reason] = {}
        again: dict[str, Reason] = {}
        working: list[str] = []
        passed_over: set[Reason] = set()

        async def take() -> str:
            nonlocal passed_over
            waited = set(rung.values())
            key = await asyncio.wait_for(queue.take(), 5)
            reason = rung.pop(key)
            assert reason is not Reason.NONE or waited == {Reason.NONE}
            assert passed_over - {Reason.NONE} <= {reason}
            passed_over = waited - {reason}
            return key

        for step in steps:
            if step == "take" and rung:
                working.append(await take())
            elif step == "done" and working:
                key = working.pop(0)
                queue.done(key)
                if key in again:
                    rung[key] = again.pop(key)
            elif isinstance(step, tuple):
                key, reason = step
                queue.ring(key, reason)
                held = again if key in working else rung
                held[key] = min(reason, held.get(key, reason))
            assert len(queue) == len(rung)
            passed_over &= set(rung.values())  # a key with a graver reason since no longer waits for the earlier one
        while rung:
            await take()

    asyncio.run(walk())


async def test_a_key_that_failed_comes_again_when_it_was_told_to() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    queue.ring("a")
    await queue.take()
    queue.failed("a", after=0)
    async with asyncio.timeout(5):
        assert await queue.take() == "a"


async def test_a_key_that_failed_rests_however_often_it_rings() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    queue.ring("a")
    await queue.take()
    queue.ring("a")
    queue.failed("a")
    queue.ring("a")
    assert len(queue) == 0
    queue.forgive()  # e.g. this operator leads again: what refused it is over
    queue.ring("a")
    assert await queue.take() == "a"


async def test_one_lanes_flood_does_not_make_another_wait() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    for number in range(100):
        queue.ring(f"a{number}")
    queue.ring("b")
    assert [await queue.take() for _ in range(3)] == ["a0", "b", "a1"]
    assert len(queue) == 98


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), unique=True))
def test_a_lane_waits_for_at_most_one_of_each_other_lane_and_keeps_its_own_order(keys: list[tuple[int, int]]) -> None:
    lanes: Lanes[tuple[int, int]] = Lanes()
    for key in keys:
        lanes.push(key[0], key)
    popped = [lanes.pop() for _ in range(len(lanes))]
    for lane in range(4):
        assert [key for key in popped if key[0] == lane] == [key for key in keys if key[0] == lane]
        places = [index for index, key in enumerate(popped) if key[0] == lane]
        assert all(later - earlier <= 4 for earlier, later in pairwise(places))
        assert not places or places[0] <= 3
    with pytest.raises(LookupError):
        lanes.pop()


async def test_of_several_later_rings_the_earliest_stands() -> None:
    queue: KeyedQueue[str] = KeyedQueue(lane=lambda key: key[0])
    queue.ring_later("a", 3600)
    queue.ring_later("a", 0)
    queue.ring_later("a", 3600)
    async with asyncio.timeout(5):
        assert await queue.take() == "a"


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
async def test_who_begins_to_lead_looks_at_each_tenant_in_turn_also_where_one_has_news(again: bool) -> None:
    """What a namespace holds once concerns all of its Roles: its first write rings for each of them."""
    no_client: Any = None
    made = shell.Shell(no_client, PLATFORM, Metrics(), "me")
    for number, (namespace, name) in enumerate([*(("a", f"flood-{one}") for one in range(9)), ("b", "cat")]):
        meta = {**role()["metadata"], "namespace": namespace, "name": name, "resourceVersion": str(number + 1)}
        made.world.put({**role(), "metadata": meta})
        if again:
            made.world.looked_at((namespace, name))
    made.lead(True)
    assert (await made.queue.take())[0] == "a"
    for number in range(9):
        made.ring(("a", f"flood-{number}"))
    assert ("b", "cat") in [await made.queue.take(), await made.queue.take()]


# ── the claim ───────────────────────────────────────────────────────────────────────


def lease(holder: str, version: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder}}


def test_writing_stops_before_others_may_take_over() -> None:
    claim = Claim("me")
    claim.won(asked_at=100.0)
    assert claim.may_write(100.0 + DURATION - MARGIN)
    assert not claim.may_write(100.0 + DURATION - MARGIN + 0.1)


def test_a_holder_that_renews_is_waited_for_by_our_own_clock() -> None:
    claim = Claim("me")
    for round_ in range(10):
        assert claim.judge(lease("other", str(round_)), now=round_ * (DURATION - 1)) == "wait"
    last = 9 * (DURATION - 1)
    assert claim.judge(lease("other", "9"), now=last + DURATION) == "take"


def test_a_released_lease_is_taken_at_once() -> None:
    assert Claim("me").judge(lease("", "1"), now=0.0) == "take"


def test_our_own_is_renewed_and_none_is_made() -> None:
    assert Claim("me").judge(lease("me", "1"), now=0.0) == "renew"
    assert Claim("me").judge(None, now=0.0) == "create"


def test_who_lost_it_does_not_write() -> None:
    claim = Claim("me")
    claim.won(0.0)
    claim.lost()
    assert not claim.may_write(0.0)


# ── settings ────────────────────────────────────────────────────────────────────────


def test_public_keys_are_read_from_pem_in_order(tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(2)]
    for name, key in zip(("current.pem", "next.pem"), keys, strict=True):
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / name).write_bytes(pem)
    assert [base64.b64decode(one) for one in public_keys(tmp_path)] == [key.public_bytes_raw() for key in keys]


async def test_public_keys_are_followed_and_where_there_are_none_the_last_ones_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shell, "KEYS_SECONDS", 0)
    no_client: Any = None
    made = shell.Shell(no_client, PLATFORM, Metrics(), "me")
    made.world.put({**role(), "metadata": {**role()["metadata"], "resourceVersion": "1"}})
    answers: list[tuple[str, ...] | Exception] = [
        PLATFORM.public_keys,
        BadRequest("no *.pem"),
        OSError("gone"),
        ("a2V5", "bmV4dA=="),
    ]
    seen: list[tuple[tuple[str, ...], int]] = []

    def read() -> tuple[str, ...]:
        seen.append((made.platform.public_keys, len(made.queue)))
        if not answers:
            raise EOFError
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(EOFError):
        await made.keep_keys(read)
    before = (PLATFORM.public_keys, 0)
    assert seen == [before, before, before, before, (("a2V5", "bmV4dA=="), 1)]


@pytest.mark.parametrize("content", [None, b"nothing", "rsa"])
def test_a_folder_without_a_good_key_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    if content == "rsa":
        key = generate_private_key(65537, 2048).public_key()
        content = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if isinstance(content, bytes):
        (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(BadRequest, match="pem"):
        public_keys(tmp_path)


def test_a_root_secret_is_read_whole_and_a_short_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "root"
    file.write_bytes(bytes(range(40)))
    assert attestation_root(file) == bytes(range(40))
    file.write_bytes(bytes(31))
    with pytest.raises(BadRequest, match="rolehost-attestation"):
        attestation_root(file)
    with pytest.raises(BadRequest, match="rolehost-attestation"):
        attestation_root(tmp_path / "missing")


# ── turns to roll ───────────────────────────────────────────────────────────────────


class Offers:
    def __init__(self) -> None:
        self.wave, self.rung = Wave(room=2, rolling=0, halted=False), list[Key]()
        self.upgrades = Upgrades(lambda: self.wave, self.rung.append, Metrics())

    def round(self, **changed: Any) -> list[str]:
        self.wave = replace(self.wave, **changed)
        self.rung.clear()
        self.upgrades.offer()
        return [name for _, name in self.rung]


def test_room_is_offered_in_turn_and_who_cannot_take_it_holds_nobody_up() -> None:
    offers = Offers()
    offers.upgrades.waiting = {("acme", name): None for name in "abc"}
    assert offers.round() == ["a", "b"]
    assert offers.round() == ["c", "a"]
    assert offers.round(room=0) == []


def test_all_who_wait_learn_that_the_upgrade_stopped_and_that_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    offers = Offers()
    offers.upgrades.waiting = {("acme", name): None for name in "abc"}
    assert offers.round(halted=True, room=0) == ["a", "b", "c"]
    assert "UpgradeStuck" in caplog.text
    assert offers.round() == []
    assert offers.round(halted=False, room=1) == ["a", "b", "c"]


# ── rolehost plan ───────────────────────────────────────────────────────────────────


def test_a_preview_takes_the_manifests_config_maps() -> None:
    raw = role({"personaFrom": {"configMapRef": {"name": "text"}}})
    text = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "text"}, "data": {"system": "x"}}
    made = preview([raw, text], "acme")
    revision = next(one for one in made if one["kind"] == "RoleRevision")
    assert revision["spec"]["frozen"] == {"persona/system": "x"}


def test_a_preview_says_what_is_missing() -> None:
    raw = role({"personaFrom": {"configMapRef": {"name": "text"}}})
    with pytest.raises(InvalidManifest, match="ConfigMap text is not in this namespace"):
        preview([raw], "acme")


def test_a_preview_of_two_roles_makes_the_namespaces_things_once() -> None:
    other = role()
    other["metadata"] = {**other["metadata"], "name": "dog"}
    kinds = [one["kind"] for one in preview([role(), other], "acme")]
    once = ["ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Secret", "ServiceAccount"]
    assert sorted(kinds) == sorted([*once, *["Deployment", "RoleRevision"] * 2])


def test_a_preview_shows_no_key() -> None:
    [secret] = [one for one in preview([role()], "acme") if one["kind"] == "Secret"]
    assert secret["data"] == {LINK_SECRET_KEY: "<made of the platform's root secret>"}


@pytest.mark.parametrize(
    ("rollout", "says"),
    [
        ("{}", "cat: cat-{new} takes all new sessions as soon as it is Ready"),
        ("{strategy: Progressive}", "begins as a canary beside cat-"),
        ("{strategy: Manual, steps: [{percent: 10}]}", ": 10 % of new sessions, then all"),
        ("{strategy: Progressive, analysis: {gates: [{name: evals}]}}", "the gate evals has not passed"),
    ],
)
def test_plan_shows_how_an_edit_comes_to_serve(tmp_path: Path, rollout: str, says: str) -> None:
    def written(name: str, system: str) -> str:
        file = tmp_path / name
        file.write_text(
            "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
            f"spec:\n  template:\n    persona: {{system: {system}}}\n  rollout: {rollout}\n"
        )
        return str(file)

    done = CliRunner().invoke(plan, [written("new.yaml", "dog"), "--before", written("old.yaml", "cat")])
    assert done.exit_code == 0, done.output
    made = [one for one in yaml.safe_load_all(done.output) if one]
    assert [one["kind"] for one in made] == ["RoleRevision", "Deployment"]
    name = made[0]["metadata"]["name"]
    assert says.replace("cat-{new}", name) in done.output.splitlines()[0]
    assert made[1]["spec"]["replicas"] == (1 if rollout == "{}" else 2)


def test_plan_names_the_line_of_a_typo(tmp_path: Path) -> None:
    file = tmp_path / "role.yaml"
    file.write_text(
        "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
        "spec:\n  template:\n    persona: {sistem: x}\n"
    )
    done = CliRunner().invoke(plan, [str(file)])
    assert done.exit_code == 1
    assert "line 6" in done.output


def test_plan_without_a_role_says_so(tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\n")
    done = CliRunner().invoke(plan, [str(file)])
    assert done.exit_code == 1
    assert "no Role" in done.output


def test_decisions_go_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """F24: what the wall says after the start does not matter."""
    passed = [100.0]
    monkeypatch.setattr(clock, "_elapsed", lambda: passed[0])
    ours = clock.Clock(NOON)
    passed[0] += 7
    assert ours.now() - NOON == timedelta(seconds=7)
