"""Links to fake pods in memory: who is bound, who is refused, and what happens when one goes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.fleet import START
from tests.support.rooms import (
    ACME,
    CAT_1,
    EVIL,
    NONCE,
    Clock,
    FakePod,
    PodDialer,
    Shelves,
    pod_entry,
    put,
    revision_entry,
    role_entry,
    serve,
    world,
)

from rolehost_api.crd.role import Logic, LogPolicy, Persona, RoleTemplate
from rolehost_api.errors import Forbidden, Overloaded, Unavailable
from rolehost_api.link.framing import encode
from rolehost_api.link.messages import (
    Abort,
    Bind,
    Bound,
    CallModel,
    Commit,
    Committed,
    Draining,
    Evicted,
    Hello,
    LoadError,
    LogBatch,
    LogLine,
    Message,
    ModelResult,
    NeedState,
    PatchOp,
    Probe,
    ReadLogs,
    Say,
    StartTurn,
    StateGiven,
    StopLogs,
    TurnFailed,
)
from rolehost_api.observed import RolloutReport
from rolehost_runtime.gateway.link.link import MAX_LOG_READERS, session_ref
from rolehost_runtime.gateway.link.logs import MAX_CHARS, LogReader
from rolehost_runtime.gateway.link.pool import MAX_STRANGERS, LinkPool
from rolehost_runtime.gateway.link.rules import TurnStage
from rolehost_runtime.gateway.link.writer import MAX_QUEUED
from rolehost_runtime.gateway.ports import TurnCall
from rolehost_runtime.gateway.tables import RevisionEntry


class Bench:
    """A pool over fake pods."""

    def __init__(self, pool: LinkPool, dialer: PodDialer, tables: Any, clock: Clock, shelves: Shelves) -> None:
        self.pool, self.dialer, self.tables, self.clock, self.shelves = pool, dialer, tables, clock, shelves

    async def until(self, true: Callable[[], bool]) -> None:
        """Let the loop run until something is so; the test's own timeout ends what never is."""
        while not true():
            await asyncio.sleep(0)

    async def loaded(self, count: int) -> None:
        await self.until(lambda: sum(pod.loaded for pod in self.pool._pod_reports()) == count)

    async def start(self, key: str = "s1", start: StartTurn = START, wait: float = 1.0) -> TurnCall:
        return await self.pool.start_turn(role_entry(), revision_entry(), key, start, wait)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    tables, dialer, clock, shelves = world(ACME, EVIL), PodDialer(), Clock(), Shelves()
    pool = LinkPool(tables, dialer, shelves, dialer.key, clock, "gw", backoff_seconds=(0,))
    await pool.start()
    yield Bench(pool, dialer, tables, clock, shelves)
    await pool.stop()


async def silent(pod: FakePod, channel: int, start: StartTurn) -> None:
    """A pod that leaves everything to the test."""


async def test_a_pod_of_the_table_is_bound_and_reported(bench: Bench) -> None:
    pod = bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    bind = next(message for _, message in pod.told if isinstance(message, Bind))
    assert (bind.persona, bind.hash, bind.role) == (("You are a cat.",), revision_entry().spec.hash, "cat")
    (report,) = (await bench.pool.observed(0, 0)).pods
    assert (report.uid, report.loaded, report.probe) == ("p1", True, pod.hello.probe)


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(Probe(gvisor=False, token=False), id="no-gvisor"),
        pytest.param(Probe(gvisor=True, token=True), id="a-token"),
        pytest.param(Probe(gvisor=True, token=False, reached=("10.96.0.1:443",)), id="a-way-out"),
    ],
)
async def test_a_leaking_sandbox_gets_no_tenant_byte_and_no_proof(bench: Bench, probe: Probe) -> None:
    pod = bench.dialer.add("p1", hello=Hello(protocols=(1,), nonce=NONCE, probe=probe))
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: any(report.error for report in bench.pool._pod_reports()))
    (report,) = bench.pool._pod_reports()
    assert report.error is not None
    assert (report.error.code, report.probe, report.loaded) == ("SandboxBreached", probe, False)
    assert pod.told == []


async def test_a_stranger_is_reported_and_never_dialled(bench: Bench) -> None:
    for number in range(MAX_STRANGERS + 2):
        bench.dialer.add(f"s{number}")
        entry = pod_entry(f"s{number}")
        bench.tables.strangers.put((entry.uid,), entry)
    bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    pods = (await bench.pool.observed(0, 0)).pods
    assert [(pod.uid, pod.loaded) for pod in pods if pod.probe] == [("p1", True)]
    assert len([pod for pod in pods if not pod.host.proved and pod.probe is None]) == MAX_STRANGERS
    assert [uid for uid, pod in bench.dialer.pods.items() if pod.dialled] == ["p1"]


async def test_a_pod_that_becomes_a_stranger_is_let_go(bench: Bench) -> None:
    """E.g. a debug container was added to it."""
    pod = bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    bench.tables.pods.drop(("p1",))
    bench.tables.strangers.put(("p1",), pod_entry("p1"))
    await bench.until(lambda: pod.pipe is not None and pod.pipe._mine.at_eof())
    (report,) = bench.pool._pod_reports()
    assert (report.uid, report.loaded, report.probe) == ("p1", False, None)


async def test_the_report_says_whether_the_clients_port_is_open(bench: Bench) -> None:
    before = await bench.pool.observed(0, 0)
    waiting = asyncio.create_task(bench.pool.observed(before.number, 5))
    await asyncio.sleep(0)
    bench.pool.listens(True)
    news = await waiting
    assert (before.listening, news.listening) == (False, True)
    assert news.number > before.number


async def test_local_mode_asks_for_no_gvisor() -> None:
    tables, dialer = world(ACME), PodDialer()
    dialer.add("p1", hello=Hello(protocols=(1,), nonce=NONCE, probe=Probe(gvisor=False, token=False)))
    pool = LinkPool(tables, dialer, Shelves(), dialer.key, Clock(), "gw", require_gvisor=False, backoff_seconds=(0,))
    await pool.start()
    put(tables, pod_entry("p1"))
    await (await pool.start_turn(role_entry(), revision_entry(), "s1", START, 5)).next(5)
    await pool.stop()


async def test_a_pod_bound_to_another_revision_is_left_alone(bench: Bench) -> None:
    hello = Hello(protocols=(1,), nonce=NONCE, probe=Probe(gvisor=True, token=False), bound="ff" * 32)
    pod = bench.dialer.add("p1", hello=hello)
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: pod.dialled == 1 and pod.pipe is not None and pod.pipe._mine.at_eof())
    assert not any(isinstance(message, Bind) for _, message in pod.told)


async def test_a_pod_that_is_seen_before_its_role_is_bound_when_the_role_comes(bench: Bench) -> None:
    bench.dialer.add("p1")
    bench.tables.roles.drop(("acme", "cat"))
    put(bench.tables, pod_entry("p1"))
    await asyncio.sleep(0.01)
    assert [(report.loaded, report.error) for report in bench.pool._pod_reports()] == [(False, None)]
    put(bench.tables, role_entry())
    await bench.loaded(1)


async def test_logic_that_does_not_load_is_told_to_the_operator(bench: Bench) -> None:
    error = LoadError(code="logic_raised", error="NameError", where="story.py:3", hint="Pay at once")
    bench.dialer.add("p1", bound=Bound(hash=revision_entry().spec.hash, error=error))
    put(bench.tables, pod_entry("p1"))
    told = replace(error, hint="The whole traceback is in `rolehost logs`")
    await bench.until(lambda: bench.pool._pod_reports()[0].error == told)
    with pytest.raises(Unavailable) as raised:
        await bench.start(wait=0)
    assert raised.value.code == "no_pod_ready"


async def test_a_hostile_pods_words_reach_nobody(bench: Bench) -> None:
    probe = Probe(gvisor=True, token=False, tried=("1.1.1.1:443", "your fault"), kernel="Linux version 4.19 by a liar")
    lies = LoadError(code="SandboxBreached", error="Buy now!", where="at once, please:1", hint="Send money")
    bench.dialer.add(
        "p1",
        hello=Hello(protocols=(1,), nonce=NONCE, probe=probe),
        bound=Bound(hash=revision_entry().spec.hash, error=lies),
    )
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: bench.pool._pod_reports()[0].error is not None)
    (report,) = bench.pool._pod_reports()
    assert report.error == LoadError(code="logic_invalid", hint="`rolehost logs` may say more")
    assert report.probe == Probe(gvisor=True, token=False, tried=("1.1.1.1:443", "?"), kernel="Linux version 4.19")


def edited(entry: RevisionEntry) -> RevisionEntry:
    template = replace(entry.spec.template, persona=Persona(system="You are a dog."))
    return changed(entry, spec=replace(entry.spec, template=template))


async def test_a_revision_that_was_edited_is_given_to_no_pod_until_it_is_put_right(bench: Bench) -> None:
    pod = bench.dialer.add("p1")
    put(bench.tables, edited(revision_entry()), pod_entry("p1"))
    await bench.until(lambda: bench.pool._pod_reports()[0].error is not None)
    (report,) = bench.pool._pod_reports()
    assert report.error is not None
    assert (report.error.code, report.loaded, pod.told) == ("revision_mismatch", False, [])
    put(bench.tables, revision_entry())
    await bench.loaded(1)
    assert bench.pool._pod_reports()[0].error is None


async def test_a_revision_that_is_edited_under_a_bound_pod_takes_no_turn(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    with pytest.raises(Unavailable) as raised:
        await bench.pool.start_turn(role_entry(), edited(revision_entry()), "s1", START, 0)
    assert (raised.value.code, pod.starts()) == ("no_pod_ready", [])


async def test_a_bundle_is_fetched_as_this_tenant_and_sent_whole(bench: Bench) -> None:
    digest, archive = "sha256:" + "1" * 64, bytes(range(256)) * 24_000  # 6 MB: more than the link's whole credit
    template = RoleTemplate(persona=Persona(system="x"), logic=Logic(bundle=digest, entrypoint="story:cat"))
    bench.shelves.kept["uid-acme", digest] = archive
    name = revision_entry(template=template).name
    for tenant in (ACME, EVIL):
        serve(bench.tables, revision_entry(tenant, template=template))
    mine, theirs = bench.dialer.add("p1"), bench.dialer.add("p2")
    put(bench.tables, pod_entry("p1", revision=name), pod_entry("p2", EVIL, revision=name))
    await bench.loaded(1)
    assert mine.bundle == archive
    reports = {report.uid: report for report in bench.pool._pod_reports()}
    assert reports["p2"].error is not None
    assert (reports["p2"].error.code, theirs.bundle) == ("bundle_not_found", b"")


async def test_a_turn_goes_both_ways(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    await bench.until(lambda: bool(pod.starts()))
    pod.send(1, Say(index=0, text="Meow"))
    pod.send(1, Commit())
    assert await call.next(1) == Say(index=0, text="Meow")
    assert await call.next(1) == Commit()
    call.committed(1)
    await bench.until(lambda: (1, Committed(version=1)) in pod.told)


async def test_the_session_is_named_by_a_reference_that_says_nothing(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    await bench.start("the-key")
    await bench.until(lambda: bool(pod.starts()))
    (start,) = pod.starts()
    assert (start.session_id, "the-key" in start.session, len(start.session)) == ("abc", False, 32)


async def test_a_session_has_the_same_name_on_a_pod_over_every_link_and_another_on_every_pod() -> None:
    names = {session_ref(key, pod) for key in ("k1", "k2") for pod in ("p1", "p2")}
    assert len(names) == 4
    assert session_ref("k1", "p1") in names


async def turn_over(bench: Bench, pod: FakePod, channel: int, start: StartTurn) -> None:
    call = await bench.start(start=start)
    await bench.until(lambda: len(pod.starts()) == channel)
    pod.send(channel, Commit())
    await call.next(1)
    call.committed(start.version + 1)


async def test_the_state_travels_only_where_it_is_not_held(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    await turn_over(bench, pod, 1, START)
    held = replace(START, turn=2, version=1, state={"dragons": 1})
    await turn_over(bench, pod, 2, held)
    assert [start.state for start in pod.starts()] == [{}, None]
    pod.send(0, Evicted(sessions=(pod.starts()[0].session,)))
    await asyncio.sleep(0.01)
    await turn_over(bench, pod, 3, replace(held, turn=3, version=2))
    assert pod.starts()[2].state == {"dragons": 1}


async def test_a_pod_that_forgot_the_state_is_given_it(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    await turn_over(bench, pod, 1, START)
    await bench.start(start=replace(START, turn=2, version=1, state={"dragons": 1}))
    await bench.until(lambda: len(pod.starts()) == 2)
    pod.send(2, NeedState())
    await bench.until(lambda: (2, StateGiven(version=1, state={"dragons": 1})) in pod.told)


async def test_a_lost_pod_is_said_after_what_it_said(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    await bench.until(lambda: bool(pod.starts()))
    pod.send(1, Say(index=0, text="Me"))
    pod.lose()
    assert await call.next(1) == Say(index=0, text="Me")
    with pytest.raises(Unavailable) as raised:
        await call.next(1)
    assert raised.value.code == "pod_lost"


async def test_a_lost_link_is_dialled_again(bench: Bench) -> None:
    pod = bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    pod.lose()
    await bench.until(lambda: pod.dialled == 2)
    await (await bench.start()).next(5)


async def test_a_leaving_pod_takes_no_turn(bench: Bench) -> None:
    pod = bench.dialer.add("p1")
    bench.dialer.add("p2")
    put(bench.tables, pod_entry("p1"), pod_entry("p2"))
    await bench.loaded(2)
    put(bench.tables, changed(pod_entry("p2"), leaving=True))
    pod.send(0, Draining())
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await bench.start(wait=0)


async def test_a_turn_waits_while_the_only_pod_leaves_until_its_successor_is_bound(bench: Bench) -> None:
    leaving = bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    leaving.send(0, Draining())
    put(bench.tables, changed(pod_entry("p1"), leaving=True))
    turn = asyncio.create_task(bench.start(wait=20))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not turn.done()
    successor = bench.dialer.add("p2")
    put(bench.tables, pod_entry("p2"))
    await (await turn).next(5)
    assert (len(leaving.starts()), len(successor.starts())) == (0, 1)


async def test_a_turn_that_was_open_when_its_pod_began_to_leave_ends_there(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    pod.send(0, Draining())
    put(bench.tables, changed(pod_entry("p1"), leaving=True))
    await bench.until(lambda: bool(pod.starts()))
    pod.send(1, Commit())
    assert isinstance(await call.next(5), Commit)


async def test_sessions_stick_and_full_pods_take_no_more(bench: Bench) -> None:
    for uid in ("p1", "p2"):
        bench.dialer.add(uid, turn=silent)
        put(bench.tables, pod_entry(uid))
    await bench.loaded(2)
    role = role_entry()
    role = changed(role, spec=replace(role.spec, sessions=replace(role.spec.sessions, max_per_pod=1)))

    async def start(key: str) -> str:
        call: Any = await bench.pool.start_turn(role, revision_entry(), key, START, 0)
        return str(call._link.pod_uid)

    first, second = await start("s1"), await start("s2")
    assert {first, second} == {"p1", "p2"}
    assert await start("s1") == first
    with pytest.raises(Overloaded):
        await start("s3")
    bench.clock.now_ms += 1000 * role.spec.sessions.idle_timeout_seconds + 1
    assert await start("s3") in ("p1", "p2")


async def test_another_tenants_pod_is_never_chosen(bench: Bench) -> None:
    bench.dialer.add("p2")
    put(bench.tables, pod_entry("p2", EVIL))
    await bench.loaded(1)
    with pytest.raises(Unavailable):
        await bench.start(wait=0)


async def test_what_was_on_its_way_when_the_turn_was_aborted_is_forgiven_for_a_while(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    call.abort("cancelled")
    await bench.until(lambda: (1, Abort(code="cancelled")) in pod.told)
    pod.send(1, Say(index=0, text="late"))
    await asyncio.sleep(0.01)
    assert pod.dialled == 1
    bench.clock.now_ms += 60_000
    pod.send(1, Say(index=1, text="later still"))
    await bench.until(lambda: pod.dialled == 2)


FORGED: list[tuple[int, Message]] = [
    (99, Say(index=0, text="to a turn that nobody opened")),
    (1, Say(index=7, text="out of order")),
    (1, NeedState()),
    (0, Commit(patch=(PatchOp("add", "/x", 1),))),
    (0, Hello(protocols=(1,), nonce=NONCE, probe=Probe(gvisor=True, token=False))),
    (0, LogBatch(request=5, lines=())),
    (0, CallModel(index=0, segments=(), stream=True)),
]


@pytest.mark.parametrize(("channel", "message"), FORGED)
async def test_a_forged_frame_closes_the_link_and_its_turns(bench: Bench, channel: int, message: Message) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    await bench.until(lambda: bool(pod.starts()))
    pod.send(channel, message)
    with pytest.raises(Unavailable) as raised:
        await call.next(5)
    assert raised.value.code == "pod_lost"


async def test_a_pod_over_its_credit_loses_its_link(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    await bench.until(lambda: bool(pod.starts()))
    for index in range(100):  # 6.5 MB, and nobody reads them
        assert pod.pipe is not None
        pod.pipe.write(encode(1, Say(index=index, text="x" * 65_000)))
    await bench.until(lambda: pod.dialled == 2)
    call.abort("gone")


async def test_a_pod_that_gives_credit_and_reads_nothing_loses_its_link(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    assert pod.theirs is not None
    pod.theirs.unread = MAX_QUEUED + 1
    call = await bench.start()
    with pytest.raises(Unavailable) as raised:
        await call.next(5)
    assert raised.value.code == "pod_lost"
    await bench.until(lambda: pod.dialled == 2)


async def test_a_turn_that_is_given_up_while_the_model_answers_needs_no_answer(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    await bench.until(lambda: bool(pod.starts()))
    pod.send(1, CallModel(index=0, segments=(), stream=True))
    pod.send(1, TurnFailed(code="logic_unavailable"))
    assert isinstance(await call.next(5), CallModel)
    await bench.until(lambda: call.rules.stage is TurnStage.ENDED)  # type: ignore[attr-defined]
    call.answer(ModelResult(index=0, text="too late"))
    assert await call.next(5) == TurnFailed(code="logic_unavailable")


async def test_a_turn_with_little_time_left_does_not_cost_its_neighbours_their_link(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    hurried, neighbour = await bench.start("s1"), await bench.start("s2")
    with pytest.raises(Unavailable) as raised:
        await hurried.next(0.001)
    assert raised.value.code == "turn_timeout"
    pod.send(2, Say(index=0, text="Meow"))
    assert await neighbour.next(5) == Say(index=0, text="Meow")


async def test_a_pod_that_says_nothing_for_long_loses_its_link(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.link.call.SILENT_SECONDS", 0.01)
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    call = await bench.start()
    with pytest.raises(Unavailable):
        await call.next(0.01)
    await bench.until(lambda: pod.dialled == 2)


async def test_a_bug_while_a_link_is_kept_is_not_the_last_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    dial = bench.dialer.dial
    failed: list[Any] = []

    async def broken_once(pod: Any) -> Any:
        if not failed:
            failed.append(pod)
            raise ValueError("a bug of ours")
        return await dial(pod)

    monkeypatch.setattr(bench.dialer, "dial", broken_once)
    bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)


async def test_more_readers_than_a_link_takes_do_not_keep_its_pod_from_serving(bench: Bench) -> None:
    async def read() -> None:
        async for _ in bench.pool.follow(role_entry(), after=0, follow=True):
            """Nothing is printed here."""

    readers = [asyncio.create_task(read()) for _ in range(MAX_LOG_READERS + 1)]
    await bench.until(lambda: len(bench.pool._followers) == len(readers))
    bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    await (await bench.start()).next(5)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_a_refused_reader_leaves_nothing_behind_on_the_links_that_took_it(bench: Bench) -> None:
    for uid in ("p1", "p2"):
        bench.dialer.add(uid)
        put(bench.tables, pod_entry(uid))
    await bench.loaded(2)
    roomy, full = bench.pool._links.values()
    for _ in range(MAX_LOG_READERS):
        full.read_logs(LogReader(bench.clock, follow=True), after=0, follow=True)
    with pytest.raises(Overloaded):
        await anext(bench.pool.follow(role_entry(), after=0, follow=True))
    assert len(roomy._readers) == 0


async def test_what_waits_for_a_slow_reader_of_logs_is_bounded_by_its_size_too(bench: Bench) -> None:
    reader = LogReader(bench.clock, follow=True)
    line = LogLine(number=1, at_ms=0, stream="stdout", text="x" * 8192)
    for _ in range(20):
        reader.receive("p1", LogBatch(request=1, lines=(line,) * 20))
    lines = reader.lines()
    first, second = await anext(lines), await anext(lines)
    assert (first.text, second) == (f"({400 - MAX_CHARS // 8192} lines were dropped)", line)


async def test_logs_carry_what_may_be_a_clients_word_for_the_session(bench: Bench) -> None:
    pod = bench.dialer.add("p1", turn=silent)
    put(bench.tables, pod_entry("p1"))
    await bench.start()
    await bench.until(lambda: bool(pod.starts()))

    async def read() -> list[LogLine]:
        return [line async for line in bench.pool.follow(role_entry(), after=0, follow=False)]

    reading = asyncio.create_task(read())
    await bench.until(lambda: any(isinstance(message, ReadLogs) for _, message in pod.told))
    lines = (
        LogLine(number=1, at_ms=1, stream="stdout", text="a", session="abc"),
        LogLine(number=2, at_ms=2, stream="stdout", text="b", session="no word of a client"),
    )
    pod.send(0, LogBatch(request=1, lines=lines))
    pod.send(0, LogBatch(request=1, lines=()))
    assert [(line.text, line.session) for line in await reading] == [("a", "abc"), ("b", "")]
    await bench.until(lambda: any(isinstance(message, StopLogs) for _, message in pod.told))


async def test_logs_that_are_off_are_not_read(bench: Bench) -> None:
    role = role_entry()
    with pytest.raises(Forbidden):
        await anext(bench.pool.follow(changed(role, spec=replace(role.spec, logs=LogPolicy.OFF)), after=0, follow=True))


async def test_a_revision_that_is_left_is_left_by_those_who_are_silent_too(bench: Bench) -> None:
    for key in ("s1", "s2", "s3"):
        bench.pool.pin(role_entry(), CAT_1, key)
    bench.pool.leave(role_entry(), CAT_1, {"s2"})
    assert [one.sessions for one in (await bench.pool.observed(-1, 0)).revisions] == [1]


async def test_who_falls_silent_is_told_of(bench: Bench) -> None:
    silent: list[tuple[str, ...]] = []
    bench.pool.on_silent(lambda *where: silent.append(where))
    bench.pool.pin(role_entry(), CAT_1, "s1")
    bench.clock.now_ms += 901_000
    await bench.pool.observed(-1, 0)
    assert silent == [("acme", "cat", CAT_1, "s1")]


async def test_the_report_tells_of_rollouts_and_wakes_its_reader_for_a_candidate_that_is_held_back(
    bench: Bench,
) -> None:
    report = RolloutReport(namespace="acme", role="cat", rollout="cat-1", migrated=1)
    bench.pool.rollouts = lambda: (report,)
    first = await bench.pool.observed(-1, 0)
    report = replace(report, migrated=2)
    second = await bench.pool.observed(-1, 0)
    assert (second.number, second.rollouts) == (first.number, (report,))
    report = replace(report, breaker=True)
    bench.pool.news()
    assert (await bench.pool.observed(first.number, 5)).rollouts == (report,)


async def test_the_report_grows_with_news_only(bench: Bench) -> None:
    bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.loaded(1)
    first = await bench.pool.observed(-1, 0)
    bench.pool.pin(role_entry(), CAT_1, "s1")
    second = await bench.pool.observed(first.number, 5)
    bench.pool.pin(role_entry(), CAT_1, "s2")
    third = await bench.pool.observed(-1, 0)
    assert [len(seen.revisions) for seen in (first, second)] == [0, 1]
    assert (third.number, third.revisions[0].sessions) == (second.number, 2)
    bench.clock.now_ms += 901_000
    assert (await bench.pool.observed(third.number, 5)).revisions == ()
