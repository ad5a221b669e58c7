"""Role logic that does its worst when a message tells it to, and neighbours of it that only want their answers."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.pod import End

from rolehost_api.link.messages import CallModel, Commit, Committed, ModelResult, Say, TurnFailed

LOGIC = """
import ctypes, os, socket, threading, time
from rolehost import Role, State, Turn

class Tale(State):
    turns: int = 0

bully = Role("bully", state=Tale)
kept = []
# Only below a first process of this pod's or this test's own may anything be done to other processes.
with open("/proc/1/cmdline", "rb") as file:
    first = file.read()
CAGED = b"rolehost-cage" in first or b"rolehost_runtime.sandbox" in first

def hog():
    while True: pass

def in_a_moment(action):
    time.sleep(0.02)
    action()

def everywhere(action):
    # Every process that can be seen, their groups, and all at once; loops where one of them was reached.
    if not CAGED:
        raise SystemExit("not on a machine that others use")
    seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    for pid in (*seen, *(-pid for pid in seen if pid > 1), -1):
        try:
            action(pid)
        except PermissionError:
            continue
        hog()

def touch(pid):
    os.kill(pid, 0)  # what may be asked may be sent

def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16906, pid, 0, 0) < 0:  # PTRACE_SEIZE: stops nobody
        raise OSError(ctypes.get_errno(), "ptrace")

def squeeze(pid):
    import resource
    resource.prlimit(pid if pid != 0 else 1, resource.RLIMIT_NOFILE)

def allocate():
    while True: kept.append(bytearray(1 << 20))

def crowd():
    threading.stack_size(65536)
    while len(kept) < 100_000:
        thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
        thread.start()
        kept.append(thread)

def bomb():
    # Of bounded size, so that it hurts nobody where it does go off.
    if not CAGED:
        raise SystemExit("not on a machine that others use")
    for _ in range(100):
        try:
            if os.fork() == 0: time.sleep(600)
        except OSError:
            pass
    hog()

def fill(folder):
    if not CAGED:
        raise SystemExit("not on a machine that others use")
    for number in range(1000):
        with open(os.path.join(folder, f"fill-{os.getpid()}-{number}"), "wb") as file:
            while True: file.write(bytes(1 << 20))

def garbage():
    for fd in range(3, 32):
        try:
            os.write(fd, b"\\xff" * 4096)
        except OSError:
            pass
    hog()

def shout():
    while True: os.write(1, b"\\n" * 65536)

def leak():
    while True: kept.append(os.open("/dev/null", os.O_RDONLY))

def dial():
    for family in (socket.AF_INET, socket.AF_INET6):
        socket.socket(family, socket.SOCK_STREAM)

DEEDS = {
    "loop": hog,
    "allocate": allocate,
    "fork": bomb,
    "exit": lambda: os._exit(3),
    "signal": lambda: everywhere(touch),
    "trace": lambda: everywhere(trace),
    "squeeze": lambda: everywhere(squeeze),
    "thread-that-exits": lambda: threading.Thread(target=in_a_moment, args=(lambda: os._exit(4),)).start(),
    "thread-that-spins": lambda: threading.Thread(target=hog, daemon=True).start(),
    "threads": crowd,
    "files": leak,
    "close": lambda: os.closerange(0, 21),
    "garbage": garbage,
    "shout": shout,
    "dial": dial,
    "fill-tmp": lambda: fill("/tmp"),
    "fill-shm": lambda: fill("/dev/shm"),
}

@bully.on_message
async def obey(t: Turn) -> None:
    t.state.turns += 1
    print("served by", os.getpid())
    if t.message in DEEDS:
        DEEDS[t.message]()
    elif t.message == "notes":
        while True: t.log("x" * 8000)
    else:
        print("heard", t.message)
        mood = await t.ask("Which mood?")
        await t.say(f"[{mood}] ")
        await t.reply(t.ask())
"""
ON_ANY_DISK = (
    *("loop", "allocate", "fork", "exit", "signal", "trace", "squeeze", "thread-that-exits", "thread-that-spins"),
    *("threads", "files", "close", "garbage", "shout", "dial", "notes"),
)
"""Deeds that hurt no machine that the tests run on. The others need a disk of their own."""


@dataclass
class Neighbour:
    """A session of somebody who does nothing wrong, with a model that takes `model_seconds` to answer."""

    end: End
    session: str
    model_seconds: float = 0.01
    seconds: list[float] = field(default_factory=list)
    """Of each turn, the model's time included."""

    async def turn(self) -> None:
        """One turn. Asserts that it went as if nobody else were there."""
        began = time.perf_counter()
        number = len(self.seconds)
        channel = await self.end.start(f"turn {number}", self.session, state={"turns": number}, deadline_ms=30_000)
        said, asked = "", []
        while not isinstance(message := await self.end.hear_any(channel), Commit):
            assert not isinstance(message, TurnFailed), (self.session, message)
            if isinstance(message, Say):
                said += message.text
            else:
                assert isinstance(message, CallModel)
                asked.append(message.index)
                await asyncio.sleep(self.model_seconds)
                said += f"<{message.index}>" if message.stream else ""
                await self.end.send(channel, ModelResult(index=message.index, text=f"<{message.index}>"))
        assert (said, asked, message.degraded) == ("[<0>] <2>", [0, 2], ()), self.session
        assert [(op.path, op.value) for op in message.patch] == [("/turns", 1)]
        await self.end.send(channel, Committed(version=1))
        self.seconds.append(time.perf_counter() - began)


async def turns(neighbours: Sequence[Neighbour], each: int) -> None:
    async def one(neighbour: Neighbour) -> None:
        for _ in range(each):
            await neighbour.turn()

    async with asyncio.TaskGroup() as group:
        for neighbour in neighbours:
            group.create_task(one(neighbour))


def percentile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds.

    >>> percentile([0.004, 0.001, 0.002, 0.003], 0.5)
    3.0
    """
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
