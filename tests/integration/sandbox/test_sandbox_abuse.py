"""What one session's logic can do to the others on its pod: nothing that they would notice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.abuse import LOGIC, ON_ANY_DISK, Neighbour, percentile, turns
from tests.support.pod import End, caged_agent, descendants, template_of
from tests.support.proof import keep

from rolehost_api.link.messages import CallModel, Commit, Degraded, ModelResult, PatchOp, Say, TurnFailed

MEMORY_MIB = "87"
"""Of a worker in a pod of 512 MiB."""
HOOK_MS = 500
EACH = 25
NEIGHBOURS = 4

pytestmark = pytest.mark.timeout(240)


@contextlib.asynccontextmanager
async def bullied(end: End, deed: str) -> AsyncIterator[list[Commit | TurnFailed]]:
    """The deed again and again, turn after turn of one session, until the block is over; at least three times."""
    outcomes: list[Commit | TurnFailed] = []
    enough = asyncio.Event()

    async def again() -> None:
        while len(outcomes) < 3 or not enough.is_set():
            outcomes.append((await end.turn(deed, session=f"bully-{deed}", deadline_ms=20_000)).end)

    task = asyncio.create_task(again())
    try:
        yield outcomes
    finally:
        enough.set()
        await task


async def test_neighbours_of_every_abuser_get_every_answer_whole() -> None:
    figures: dict[str, object] = {}
    async with caged_agent(ROLEHOST_WORKER_MEMORY_MIB=MEMORY_MIB) as pod:
        assert (await (await pod.link()).bind(LOGIC, hook_wall_ms=HOOK_MS)).error is None
        template = template_of(pod)
        for deed in ("", *ON_ANY_DISK):
            end = await pod.link()
            neighbours = [Neighbour(end, f"{deed}-{number}") for number in range(NEIGHBOURS)]
            if deed:
                async with bullied(await pod.link(), deed) as outcomes:
                    await turns(neighbours, EACH)
                assert len(outcomes) >= 3
            else:
                await turns(neighbours, EACH)
            seconds = [one for neighbour in neighbours for one in neighbour.seconds]
            assert len(seconds) == NEIGHBOURS * EACH
            figures[deed or "nobody"] = {"p50_ms": percentile(seconds, 0.5), "p99_ms": percentile(seconds, 0.99)}
        assert template_of(pod) == template, "nobody ended what all workers hang from"
        assert pod.process.returncode is None
    keep("worker-abuse", {"turns_each": NEIGHBOURS * EACH, "turns_failed": 0, "kernel": "host", **figures})


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("loop", "hook_deadline"),
        ("allocate", "hook_failed"),
        ("fork", "hook_deadline"),
        ("exit", "hook_died"),
        ("dial", "hook_failed"),
        ("files", "hook_failed"),
        ("close", "hook_died"),
        ("garbage", "hook_died"),
    ],
)
async def test_an_abuser_is_told_what_became_of_its_hook_and_still_answered(deed: str, code: str) -> None:
    async with caged_agent(ROLEHOST_WORKER_MEMORY_MIB=MEMORY_MIB) as pod:
        end = await pod.link()
        await end.bind(LOGIC, hook_wall_ms=HOOK_MS)
        for _ in range(4):  # the later ones in quarantine
            told = await end.turn(deed)
            assert isinstance(told.end, Commit), told
            assert [(one.hook, one.code) for one in told.end.degraded] == [("on_message:obey", code)]
            assert told.said == "<0>", "the model's own answer"


@pytest.mark.parametrize("deed", ["signal", "trace", "squeeze"])
async def test_no_other_process_can_be_reached(deed: str) -> None:
    """The agent, the template, the other workers, and whatever else /proc shows; the hook loops where one can."""
    async with caged_agent() as pod:
        end = await pod.link()
        await end.bind(LOGIC)
        assert (await end.turn(deed)).end == Commit(patch=(PatchOp("incr", "/turns", 1),))


async def test_eight_suspended_on_a_killed_worker_go_on_and_no_model_is_asked_twice() -> None:
    """All of them wait for the model on the one worker that the killer then loops in; their answers come meanwhile."""
    async with caged_agent() as pod:
        end, other = await pod.link(), await pod.link()
        await end.bind(LOGIC, hook_wall_ms=HOOK_MS)
        victims = [Neighbour(end, f"n{number}", model_seconds=1.0) for number in range(8)]
        async with asyncio.TaskGroup() as group:
            for victim in victims:
                group.create_task(victim.turn())
                await asyncio.sleep(0.02)  # one after the other, so that all of them take the idle worker
            told = await other.turn("loop", session="killer")
        assert isinstance(told.end, Commit)
        assert told.end.degraded == (Degraded("on_message:obey", "hook_deadline"),)
        assert all(len(victim.seconds) == 1 for victim in victims)
        printed = {line.text for line in await end.logs() if line.text.startswith("served by")}
        assert len(printed) == 1, "all nine were on one worker, and the second run of the eight showed nothing"


async def test_a_turn_is_not_blamed_for_what_another_session_left_behind_in_its_worker() -> None:
    """A bomb in the interpreter itself, which no sign of wear shows: the worker dies under whoever comes next."""
    logic = """
import os
from rolehost import Role, Turn
cat = Role("cat")
mines = []

@cat.on_message
async def step(t: Turn) -> None:
    if t.message == "mine":
        mines.append(1)
    elif mines:
        os._exit(9)
    await t.reply("fine")
"""
    async with caged_agent() as pod:
        end = await pod.link()
        await end.bind(logic, max_workers=2)
        for number in range(3):
            await end.turn("mine", session=f"m{number}")
            told = await end.turn("walk", session=f"w{number}")
            assert (told.said, told.end) == ("fine", Commit())


@pytest.mark.parametrize("deed", ["thread-that-spins", "allocate", "files"])
async def test_a_worker_that_a_hook_left_worn_serves_nobody_else(deed: str) -> None:
    """With a thread still running, memory or files still taken; the turn itself is none the worse for it."""
    async with caged_agent(ROLEHOST_WORKER_MEMORY_MIB=MEMORY_MIB) as pod:
        end = await pod.link()
        await end.bind(LOGIC)
        await end.turn(deed)
        (worn,) = {line.text for line in await end.logs() if line.text.startswith("served by")}
        for number in range(6):
            await end.turn("hello", session=f"n{number}")
        served = {line.text for line in await end.logs() if line.text.startswith("served by") and line.session != "s1"}
        assert served
        assert worn not in served


async def test_a_session_that_killed_twice_has_a_worker_of_its_own_and_leaves_it_by_good_turns() -> None:
    logic = """
import os
from rolehost import Role, Turn
cat = Role("cat")
served = []

@cat.on_message
async def step(t: Turn) -> None:
    served.append(t.session.id)
    if t.message == "loop":
        while True: pass
    await t.ask("?")
    await t.reply(f"{os.getpid()} {','.join(sorted(set(served)))}")
"""
    async with caged_agent() as pod:
        end = await pod.link()
        await end.bind(logic, hook_wall_ms=300, max_workers=2)

        async def served(session: str) -> tuple[str, str]:
            pid, _, sessions = (await end.turn("who", session=session)).said.partition(" ")
            return pid, sessions

        for _ in range(2):
            assert isinstance((await end.turn("loop", session="killer")).end, Commit)
        pids = set()
        for _ in range(3):
            pid, sessions = await served("killer")
            assert sessions == "killer", "nobody else was ever in this process"
            pids.add(pid)
            _, sessions = await served("other")
            assert "killer" not in sessions
        assert len(pids) == 3, "a process for every step"
        again = {(await served("killer"))[0] for _ in range(4)}
        assert len(again) < 4, "one like any other again"


async def test_quarantine_outlives_the_link() -> None:
    async with caged_agent() as pod:
        first = await pod.link()
        await first.bind(LOGIC, hook_wall_ms=300)
        for _ in range(2):
            await first.turn("loop", session="killer")
        await first.close()
        end = await pod.link()
        workers = await settled(pod.pid)
        told = await end.turn("loop", session="killer")
        assert isinstance(told.end, Commit)
        assert told.end.degraded == (Degraded("on_message:obey", "hook_deadline"),)
        assert await settled(pod.pid) == workers, "no shared worker was lost this time"


async def settled(pid: int) -> set[int]:
    """Its processes, once those that were killed are gone and those that take their places are there."""
    before, now = set[int](), descendants(pid)
    while before != now:
        await asyncio.sleep(0.5)
        before, now = now, descendants(pid)
    return now


async def test_quarantined_sessions_wait_for_each_other_and_all_are_answered() -> None:
    async with caged_agent() as pod:
        end = await pod.link()
        await end.bind(LOGIC, hook_wall_ms=300)
        killers = [f"k{number}" for number in range(4)]
        for killer in killers:
            for _ in range(2):
                await end.turn("loop", session=killer)
        told = await asyncio.gather(*(end.turn("loop", session=killer, deadline_ms=20_000) for killer in killers))
        assert [one.end for one in told if not isinstance(one.end, Commit)] == []


async def test_an_aborted_turn_lets_the_quarantine_worker_go() -> None:
    async with caged_agent() as pod:
        end = await pod.link()
        await end.bind(LOGIC, hook_wall_ms=2000)
        for _ in range(2):
            await end.turn("exit", session="killer")
        channel = await end.start("loop", session="killer")
        await asyncio.sleep(0.2)
        await end.abort(channel)
        assert isinstance((await end.turn("hello", session="killer")).end, Commit)


async def test_what_was_printed_before_a_worker_was_lost_is_shown_once() -> None:
    async with caged_agent() as pod:
        end, killer = await pod.link(), await pod.link()
        await end.bind(LOGIC, hook_wall_ms=300)
        channel = await end.start("hello", session="victim")
        asked = await end.hear(channel, CallModel)
        await killer.turn("loop", session="killer")
        await end.send(channel, ModelResult(index=asked.index, text="good"))
        assert (await end.hear(channel, Say)).text == "[good] "
        printed = [line.text for line in await end.logs() if line.session == "victim"]
        assert len(printed) == 2
        assert printed[1] == "heard hello"


# ── at import ───────────────────────────────────────────────────────────────────────

AT_IMPORT = """
import os, socket, threading
from rolehost import Role, Turn
{deed}
cat = Role("cat")

@cat.on_message
async def answer(t: Turn) -> None:
    await t.reply("fine")
"""
FORKS_AT_IMPORT = """
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: pass
        os._exit(0)
"""


async def test_what_an_import_forked_is_gone_when_the_pod_is_bound() -> None:
    async with caged_agent() as pod:
        end = await pod.link()
        assert (await end.bind(AT_IMPORT.format(deed=FORKS_AT_IMPORT))).error is None
        assert (await end.turn()).said == "fine"
        assert len(descendants(pod.pid)) == 1 + 3, "the template, two workers and the spare"


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("os.kill(os.getppid(), 0)", "logic_raised"),
        ("os.kill(-1, 0)", "logic_raised"),
        ("socket.socket()", "logic_raised"),
        ("bytearray(1 << 40)", "logic_raised"),
        ("os._exit(0)", "logic_died"),
        ("os.closerange(0, 21)", "logic_died"),
    ],
)
async def test_an_import_that_does_its_worst_is_an_error_of_this_revision(deed: str, code: str) -> None:
    async with caged_agent() as pod:
        bound = await (await pod.link()).bind(AT_IMPORT.format(deed=deed))
        assert bound.error is not None
        assert bound.error.code == code
        assert pod.process.returncode is None


async def test_a_thread_that_an_import_left_spinning_does_not_reach_the_workers() -> None:
    deed = "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()"
    async with caged_agent() as pod:
        end = await pod.link()
        assert (await end.bind(AT_IMPORT.format(deed=deed))).error is None
        assert (await end.turn()).said == "fine"


FORGES = """
import sys
template = sys.modules["__main__"].Template
honest = template._fork
template._fork = lambda self, fds: honest(self, fds) and os.getppid()
"""


async def test_a_template_that_names_a_process_that_is_not_its_child_gets_nothing_killed() -> None:
    """The import has rewritten the template's own code, which then says that its worker is the agent."""
    async with caged_agent() as pod:
        bound = await (await pod.link()).bind(AT_IMPORT.format(deed=FORGES))
        assert bound.error is not None
        assert bound.error.code == "logic_died"
        assert pod.process.returncode is None
