"""Several gateways and their pods: who binds whom, who links when, and what changes when one of them comes or goes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.fleet import ARCHIVE, REVISION, START, FleetPod, Gang
from tests.support.rooms import CAT_1, pod_entry, put, revision_entry, role_entry

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.link.framing import WINDOW
from rolehost_api.link.messages import BUNDLE_CHUNK_BYTES, LoadError
from rolehost_runtime.core.ring import Ring
from rolehost_runtime.gateway.link.binder import STEP_IN_SECONDS, order
from rolehost_runtime.gateway.link.keeper import IDLE_MS
from rolehost_runtime.gateway.link.report import Known
from rolehost_runtime.gateway.tables import Tenant

STEP_IN_MS = 1000 * STEP_IN_SECONDS


@pytest.fixture
async def gang() -> AsyncIterator[Gang]:
    gang = Gang("a", "b", "c")
    await gang.start()
    yield gang
    await gang.stop()


# ── binding ─────────────────────────────────────────────────────────────────────────


async def test_each_pod_gets_its_bundle_once_from_its_binder(gang: Gang) -> None:
    for number in range(30):
        gang.add_pod(f"p{number}")
    await gang.bound()
    assert {pod.bundle_bytes for pod in gang.pods.values()} == {len(ARCHIVE)}
    mine = {name: {uid for uid in gang.pods if order(uid, "abc")[0] == name} for name in "abc"}
    assert {name: gang.linked(name) for name in "abc"} == mine
    assert all(pod.dialled == 1 for pod in gang.pods.values())


async def test_a_gateway_that_is_back_is_told_of_its_pods_and_sends_none_of_them_a_byte(gang: Gang) -> None:
    for number in range(30):
        gang.add_pod(f"p{number}")
    await gang.bound()
    mine = gang.linked("b")
    await gang.pools["b"].stop()
    fresh = gang.add_gateway("b")
    await fresh.start()
    await gang.until(lambda: gang.linked("b") == mine)
    assert {pod.bundle_bytes for pod in gang.pods.values()} == {len(ARCHIVE)}
    assert all(report.loaded and report.probe for report in fresh._pod_reports())


async def test_pods_of_a_gateway_that_died_are_bound_by_the_others(gang: Gang) -> None:
    old = gang.add_pod(gang.pod_of("c"))
    await gang.bound()
    await gang.pools["c"].stop()
    new = gang.add_pod(gang.pod_of("c"))
    await gang.settled()
    assert new.bound == ""
    await gang.change("a", "b")
    await gang.bound()
    assert [pod.bundle_bytes for pod in (old, new)] == [len(ARCHIVE)] * 2
    assert gang.linked("a") | gang.linked("b") == {old.uid, new.uid}


async def test_who_is_no_binder_any_more_lets_go_when_nobody_needs_its_link(gang: Gang) -> None:
    uid = gang.pod_of("c", "a")
    gang.members = {"a", "b"}
    pod = gang.add_pod(uid)
    await gang.bound()
    await gang.change("a", "b", "c")
    assert (gang.linked("a"), gang.linked("c")) == ({uid}, {uid})
    await gang.pass_ms(IDLE_MS - 1)
    assert gang.linked("a") == {uid}
    await gang.pass_ms(1)
    assert (gang.linked("a"), gang.linked("c"), pod.bundle_bytes) == (set(), {uid}, len(ARCHIVE))


async def test_a_draining_gateway_binds_nobody_and_still_serves(gang: Gang) -> None:
    old = gang.add_pod(gang.pod_of("c"))
    await gang.bound()
    new = gang.pod_of("c")
    await gang.change("a", "b")
    gang.add_pod(new)
    await gang.bound()
    assert new not in gang.linked("c")
    assert await gang.whole_turn("c") in {old.uid, new}


async def test_with_no_member_known_each_is_its_own() -> None:
    async with Gang("a") as gang:
        gang.members = set()
        gang.add_pod("p1")
        await gang.bound()


async def test_the_next_in_order_steps_in_for_a_binder_that_is_cut_off(gang: Gang) -> None:
    uid = gang.pod_of("a", "b", "c")
    for name in "ab":
        gang.dialers[name].walls.add(uid)
    pod = gang.add_pod(uid)
    await gang.settled()
    await gang.pass_ms(STEP_IN_MS)
    await gang.pass_ms(STEP_IN_MS - 1)
    assert pod.dialled == 0
    await gang.pass_ms(1)
    await gang.bound()
    assert (pod.dialled, pod.bundle_bytes) == (1, len(ARCHIVE))
    assert [report.loaded for report in gang.pools["c"]._pod_reports()] == [True]


async def test_who_stepped_in_lets_go_once_the_pod_is_bound(gang: Gang) -> None:
    uid = gang.pod_of("a", "b")
    gang.dialers["a"].walls.add(uid)
    gang.add_pod(uid)
    await gang.settled()
    await gang.pass_ms(STEP_IN_MS)
    await gang.bound()
    assert gang.linked("b") == {uid}
    await gang.pass_ms(0)
    await gang.pass_ms(IDLE_MS)
    assert gang.linked("b") == set()


async def test_logic_that_never_loads_is_looked_at_once_by_each_and_moves_one_bundle(gang: Gang) -> None:
    pod = gang.add_pod("p1", error=LoadError(code="logic_raised", error="NameError"))
    await gang.bound()
    for _ in range(20):
        await gang.pass_ms(STEP_IN_MS)
    assert (pod.dialled, pod.bundle_bytes) == (3, len(ARCHIVE))
    assert [name for name in "abc" if gang.linked(name)] == order("p1", "abc")[:1]


async def test_a_pod_that_imports_for_long_is_left_to_who_binds_it(gang: Gang) -> None:
    pod = gang.add_pod("p1")
    pod.importing.clear()
    await gang.until(lambda: pod.bundle_bytes == len(ARCHIVE))
    for _ in range(10):
        await gang.pass_ms(STEP_IN_MS)
    assert pod.dialled > 2
    pod.importing.set()
    await gang.bound()
    assert pod.bundle_bytes == len(ARCHIVE)


async def test_a_gateway_that_comes_back_in_mid_bundle_lets_the_one_that_stood_in_finish() -> None:
    async with Gang("a", "b") as gang:
        uid = gang.pod_of("b")
        gang.members = {"a"}
        pod = gang.add_pod(uid)
        pod.importing.clear()
        await gang.until(lambda: pod.bundle_bytes == len(ARCHIVE))
        await gang.change("a", "b")
        assert pod.dialled > 1
        pod.importing.set()
        await gang.until(lambda: gang.linked("b") == {uid})
        assert pod.bundle_bytes == len(ARCHIVE)


async def test_a_pod_whose_binder_dies_in_mid_bundle_is_bound_by_the_next(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("c"))
    pod.importing.clear()
    await gang.until(lambda: pod.bundle_bytes == len(ARCHIVE))
    await gang.pools["c"].stop()
    await gang.settled()
    pod.importing.set()
    assert pod.bound == ""
    await gang.change("a", "b")
    await gang.bound()
    assert pod.bundle_bytes == 2 * len(ARCHIVE)


async def test_who_has_pods_waiting_for_bundles_steps_in_for_nobody() -> None:
    async with Gang("a", transfers=1) as gang:
        gang.members = {"a", "b"}
        stalled = gang.stall()
        for _ in range(2):
            gang.add_pod(gang.pod_of("a"))
        others = gang.add_pod(gang.pod_of("b"))
        await gang.settled()
        for _ in range(5):
            await gang.pass_ms(STEP_IN_MS)
        assert others.dialled == 0
        stalled.set()
        await gang.until(lambda: sum(bool(pod.bound) for pod in gang.pods.values()) == 2)
        await gang.pass_ms(0)
        await gang.pass_ms(STEP_IN_MS)
        await gang.bound()


async def test_a_pod_that_waits_in_line_when_it_gets_another_binder_is_left_to_that_one() -> None:
    async with Gang("a", transfers=1) as gang:
        stalled = gang.stall()
        for number in range(20):
            gang.add_pod(f"p{number}")
        await gang.settled()
        await gang.change("a", "b")
        stalled.set()
        mine = {uid for uid in gang.pods if order(uid, "ab")[0] == "a"}
        await gang.until(lambda: all(gang.pods[uid].bound for uid in mine))
        await gang.settled()
        assert {uid for uid, pod in gang.pods.items() if pod.bundle_bytes} == mine


class BoundBehindOurBack(FleetPod):
    """Its Hello says that it is bound to nothing; when our Bind comes, another gateway has bound it."""

    async def serve(self, reader: asyncio.StreamReader, writer: Any) -> None:
        write = writer.write

        def write_and_be_bound(data: bytes) -> None:
            write(data)
            self.bound = REVISION.spec.hash

        writer.write = write_and_be_bound
        await super().serve(reader, writer)


async def test_a_pod_that_somebody_else_bound_meanwhile_is_sent_no_more_of_its_bundle() -> None:
    async with Gang("a") as gang:
        archive = gang.shelve(bytes(9_000_000))
        pod = gang.pods["p1"] = BoundBehindOurBack("p1", gang.key)
        put(gang.tables, pod_entry("p1", revision=REVISION.name))
        await gang.until(lambda: gang.linked("a") == {"p1"})
        assert pod.bundle_bytes < len(archive) / 2


async def test_a_pod_that_does_not_take_its_bundle_gives_up_its_place_and_that_is_no_fault_of_the_logic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.link.pool.CARRY_SECONDS", 0.01)
    async with Gang("a", transfers=1) as gang:
        gang.shelve(bytes(WINDOW + 1))
        gang.add_pod("deaf", deaf=True)
        await gang.until(lambda: gang.pods["deaf"].bundle_bytes > WINDOW // 2)
        gang.shelve(ARCHIVE)
        other = gang.add_pod("other")
        await gang.until(lambda: bool(other.bound))
        errors = [report.error for report in gang.pools["a"]._pod_reports()]
        assert errors == [None, None]


async def test_a_pod_that_says_again_and_again_that_it_has_no_bundle_gets_it_ever_less_often() -> None:
    async with Gang("a") as gang:
        pod = gang.add_pod("p1", forgetful=True)
        failures = []
        for times in range(1, 5):
            await gang.until(lambda: gang.linked("a") == {"p1"})
            assert pod.bundle_bytes == times * len(ARCHIVE)
            failures.append(gang.pools["a"]._keepers["p1"]._failures)
            pod.lose_links()
            await gang.until(lambda: gang.linked("a") == set())
        assert failures == [0, 0, 1, 2]


async def test_a_pod_whose_container_starts_again_is_bound_again_by_its_binder_only(gang: Gang) -> None:
    pod = gang.add_pod("p1")
    await gang.bound()
    gang.call("p1", ready=False)
    pod.restart()
    await gang.bound()
    assert (pod.bundle_bytes, pod.dialled) == (2 * len(ARCHIVE), 2)


STEPS = st.one_of(
    st.just(("pod", "")),
    st.tuples(st.just("members"), st.sampled_from(["a", "b", "c", "ab", "ac", "bc", "abc"])),
    st.tuples(st.just("restart"), st.sampled_from("abc")),
    st.tuples(st.just("lose"), st.sampled_from("abc")),
    st.just(("wait", "")),
)


@settings(max_examples=60, phases=(Phase.explicit, Phase.generate))  # to shrink what hangs takes for ever
@given(st.lists(STEPS, max_size=10), st.booleans())
def test_whatever_gateways_do_every_pod_is_bound_and_gets_its_bundle_once(
    steps: list[tuple[str, str]], in_a_hurry: bool
) -> None:
    asyncio.run(_whatever_gateways_do(steps, in_a_hurry))


async def _whatever_gateways_do(steps: list[tuple[str, str]], in_a_hurry: bool) -> None:
    """In a hurry, steps come faster than pods are bound; a gateway that dies in mid-bundle may cost one more then."""
    async with Gang("a", "b", "c", transfers=1) as gang:
        gang.add_pod("p0")
        for number, (what, who) in enumerate(steps, 1):
            if what == "pod":
                gang.add_pod(f"p{number}")
            elif what == "members":
                gang.members = set(who)
                for pool in gang.pools.values():
                    pool.members_changed()
            elif what == "restart":
                await gang.pools[who].stop()
                await gang.add_gateway(who).start()
            elif what == "lose":
                for pod in gang.pods.values():
                    pod.lose_links()
            else:
                await gang.pass_ms(STEP_IN_MS)
            if not in_a_hurry:
                await gang.bound()
        await gang.bound()
        cut = sum(what in ("restart", "lose") for what, _ in steps) if in_a_hurry else 0
        for pod in gang.pods.values():
            assert len(ARCHIVE) <= pod.bundle_bytes <= (1 + cut) * len(ARCHIVE)


# ── turns ───────────────────────────────────────────────────────────────────────────


async def test_a_turn_makes_the_link_that_it_needs_and_moves_no_bundle(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    assert await gang.whole_turn("b") == pod.uid
    assert (pod.dialled, pod.bundle_bytes, gang.linked("b"), gang.linked("c")) == (2, len(ARCHIVE), {pod.uid}, set())


async def test_turns_that_come_together_share_one_dial(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    await asyncio.gather(*(gang.whole_turn("b", f"s{number}") for number in range(20)))
    assert (pod.dialled, pod.turns) == (2, 20)


async def test_a_turn_whose_caller_gives_up_takes_the_link_from_nobody(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    hurried, patient = (asyncio.create_task(gang.turn("b", key)) for key in ("s1", "s2"))
    await asyncio.sleep(0)
    hurried.cancel()
    await (await patient).next(5)
    assert pod.dialled == 2


async def test_a_pod_that_cannot_be_reached_is_passed_over_for_the_next(gang: Gang) -> None:
    first, second = (gang.add_pod(gang.pod_of("a")) for _ in range(2))
    await gang.bound()
    gang.dialers["b"].walls.add(first.uid)
    took = {await gang.whole_turn("b", f"s{number}") for number in range(20)}
    assert took == {second.uid}


async def test_a_pod_that_could_not_be_reached_takes_turns_again_once_it_can_be(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    gang.dialers["b"].walls.add(pod.uid)
    with pytest.raises(Unavailable) as raised:
        await gang.turn("b", wait=0.05)
    assert raised.value.code == "no_pod_ready"
    waiting = asyncio.create_task(gang.whole_turn("b"))
    await gang.settled()
    gang.dialers["b"].walls.clear()
    assert await waiting == pod.uid


async def test_a_pod_that_is_not_ready_is_not_dialled_for_a_turn_and_never_bound_by_one(gang: Gang) -> None:
    uid = gang.pod_of("a")
    gang.dialers["a"].walls.add(uid)
    pod = gang.add_pod(uid)
    await gang.settled()
    with pytest.raises(Unavailable):
        await gang.turn("b", wait=0)
    assert pod.dialled == 0
    gang.call(uid, ready=True)  # its container has started again since
    await gang.settled()
    with pytest.raises(Unavailable):
        await gang.turn("b", wait=0.05)
    assert pod.dialled > 0
    assert (pod.bound, pod.bundle_bytes) == ("", 0)


async def test_a_turn_binds_no_pod_either_where_there_is_no_bundle_to_send(gang: Gang) -> None:
    uid = gang.pod_of("a")
    gang.dialers["a"].walls.add(uid)
    pod = gang.add_pod(uid, revision=CAT_1)
    gang.call(uid, ready=True)
    await gang.settled()
    with pytest.raises(Unavailable):
        await gang.pools["b"].start_turn(role_entry(), revision_entry(), "s1", START, 0.05)
    assert pod.dialled > 0
    assert pod.bound == ""


async def test_a_pod_that_does_not_answer_is_passed_over_too(gang: Gang, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (gang.add_pod(gang.pod_of("a")) for _ in range(2))
    await gang.bound()
    monkeypatch.setattr("rolehost_runtime.gateway.link.serving.REACH_SECONDS", 0.01)
    gang.dialers["b"].holes.add(first.uid)
    took = {await gang.whole_turn("b", f"s{number}") for number in range(10)}
    assert took == {second.uid}


async def test_no_turn_waits_for_a_pod_that_could_not_be_reached_last_time(gang: Gang) -> None:
    first, second = (gang.add_pod(gang.pod_of("a")) for _ in range(2))
    await gang.bound()
    gang.dialers["b"].walls.add(first.uid)
    ring = Ring(gang.pools["b"]._keepers)
    keys = [key for key in map(str, range(99)) if ring.choose(key) == first.uid]
    assert await gang.whole_turn("b", keys[0]) == second.uid
    gang.dialers["b"].walls.clear()
    gang.dialers["b"].holes.add(first.uid)
    await gang.settled()
    assert (await gang.turn("b", keys[1], wait=0))._link.pod_uid == second.uid


async def test_sessions_fall_on_all_pods_alike_whoever_is_linked_to_them(gang: Gang) -> None:
    for number in range(6):
        gang.add_pod(f"p{number}")
    await gang.bound()
    sessions = [f"s{number}" for number in range(60)]
    took = {name: [await gang.whole_turn(name, key) for key in sessions] for name in "abc"}
    assert took["a"] == took["b"] == took["c"]
    assert set(took["a"]) == set(gang.pods)


async def test_pods_are_filled_to_this_gateways_share_before_any_is_filled_whole(gang: Gang) -> None:
    for uid in ("p1", "p2"):
        gang.add_pod(uid)
    await gang.bound()

    async def start(number: int) -> str:
        call = await gang.turn("a", f"s{number}", most=6)
        return str(call._link.pod_uid)

    took = [await start(number) for number in range(4)]
    assert sorted(took) == ["p1", "p1", "p2", "p2"]
    took += [await start(number) for number in range(4, 12)]
    assert sorted(took) == ["p1"] * 6 + ["p2"] * 6
    with pytest.raises(RolehostError) as raised:
        await start(12)
    assert raised.value.code == "pods_full"


async def test_a_link_that_a_session_sits_on_stays_until_it_fell_silent_and_a_minute(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    await gang.whole_turn("b")
    await gang.pass_ms(1000 * role_entry().spec.sessions.idle_timeout_seconds)
    assert gang.linked("b") == {pod.uid}
    await gang.pass_ms(IDLE_MS - 1)
    assert gang.linked("b") == {pod.uid}
    await gang.pass_ms(1)
    assert gang.linked("b") == set()
    assert await gang.whole_turn("b") == pod.uid


# ── reports and logs ────────────────────────────────────────────────────────────────


async def test_losing_every_link_changes_no_word_about_any_pod(gang: Gang) -> None:
    for number in range(9):
        gang.add_pod(f"p{number}")
    await gang.bound()
    said = {name: gang.pools[name]._pod_reports() for name in "abc"}
    assert sorted(report.uid for reports in said.values() for report in reports if report.loaded) == sorted(gang.pods)
    for pod in gang.pods.values():
        pod.cut_off = True
        pod.lose_links()
    await gang.until(lambda: all(gang.linked(name) == set() for name in "abc"))
    await gang.settled()
    assert {name: gang.pools[name]._pod_reports() for name in "abc"} == said


async def test_a_pod_keeps_its_binders_word_when_another_becomes_it(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("c"))
    await gang.bound()
    await gang.change("a", "b")
    words = [report for name in "abc" for report in gang.pools[name]._pod_reports()]
    assert [(word.uid, word.loaded) for word in words] == [(pod.uid, True)] * 2


async def test_a_gateway_says_nothing_of_pods_that_it_never_met(gang: Gang) -> None:
    pod = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    assert [len(gang.pools[name]._pod_reports()) for name in "abc"] == [1, 0, 0]
    assert gang.pools["b"]._keepers[pod.uid].known == Known()


async def test_logs_are_read_from_pods_that_nobody_here_is_linked_to(gang: Gang) -> None:
    for number in range(12):
        gang.add_pod(f"p{number}")
    await gang.bound()
    lines = [line.text async for line in gang.pools["b"].follow(role_entry(), after=0, follow=False)]
    assert sorted(lines) == sorted(f"I am {uid}" for uid in gang.pods)
    await gang.pass_ms(0)
    await gang.pass_ms(IDLE_MS)
    assert gang.linked("b") == {uid for uid in gang.pods if order(uid, "abc")[0] == "b"}


async def test_the_log_of_logic_that_does_not_load_is_read_at_every_gateway(gang: Gang) -> None:
    gang.add_pod(gang.pod_of("a"), error=LoadError(code="logic_raised", error="NameError"))
    await gang.bound()
    lines = [line async for line in gang.pools["b"].follow(role_entry(), after=0, follow=False)]
    assert len(lines) == 1


async def test_who_follows_hears_pods_that_come_later_and_those_that_come_back(gang: Gang) -> None:
    first = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    lines: Any = gang.pools["b"].follow(role_entry(), after=0, follow=True)
    assert (await anext(lines)).text == f"I am {first.uid}"
    await gang.pass_ms(10 * IDLE_MS)
    assert gang.linked("b") == {first.uid}
    second = gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    await gang.pass_ms(0)
    assert (await anext(lines)).text == f"I am {second.uid}"
    first.lose_links()
    await gang.settled()
    await gang.pass_ms(0)
    assert (await anext(lines)).text == f"I am {first.uid}"
    await lines.aclose()


async def test_a_reader_has_links_made_to_so_many_pods_and_no_more(gang: Gang, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.link.followers.MAX_SOUGHT", 3)
    for _ in range(8):
        gang.add_pod(gang.pod_of("a"))
    await gang.bound()
    lines: Any = gang.pools["b"].follow(role_entry(), after=0, follow=True)
    await anext(lines)
    await gang.pass_ms(1000)
    assert len(gang.linked("b")) == 3
    await lines.aclose()


async def test_a_bug_while_looking_is_not_the_last_look() -> None:
    async with Gang("a") as gang:
        failures = iter([ValueError("a bug of ours")])

        def members() -> set[str]:
            for failure in failures:
                raise failure
            return {"a"}

        gang.pools["a"]._keepers._members = members
        gang.add_pod("p1")
        await gang.settled()
        gang.pools["a"].members_changed()
        await gang.bound()


async def test_a_tenants_bundle_is_fetched_as_that_tenant(gang: Gang) -> None:
    asked: list[Tenant] = []
    fetch = gang.shelves.fetch

    async def noted(tenant: Tenant, digest: str) -> bytes:
        asked.append(tenant)
        return await fetch(tenant, digest)

    gang.shelves.fetch = noted  # type: ignore[method-assign]
    gang.add_pod("p1")
    await gang.bound()
    assert [tenant.uid for tenant in asked] == ["uid-acme"]


def test_a_bundle_of_these_tests_is_more_than_a_chunk() -> None:
    assert len(ARCHIVE) > 2 * BUNDLE_CHUNK_BYTES
