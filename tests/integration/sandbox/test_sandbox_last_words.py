"""A worker's death and its last words come by two ways; whichever is faster, the words count."""

import asyncio
import socket

import pytest

from rolehost_api.link.messages import StartTurn
from rolehost_runtime.sandbox.pipes import Printed
from rolehost_runtime.sandbox.processes import Template, Worker, WorkerLost
from rolehost_runtime.sandbox.steps import Entering, LogNote, Said, Step, pack

START = StartTurn(
    session="s", session_id="abc", turn=1, version=0, message="hi", now_ms=1, rng_seed=1, deadline_ms=1000
)


class Keeper:
    """Keeps nothing."""

    def __init__(self) -> None:
        self.printed: Printed = lambda stream, line, owner: None
        self.gone: list[Worker] = []

    def free(self, worker: Worker) -> None:
        raise AssertionError("it never ends its step")

    def lost(self, worker: Worker) -> None:
        self.gone.append(worker)

    def buried(self, pid: int) -> None:
        """Told by the test itself."""

    def template_lost(self, template: Template) -> None:
        """There is none."""


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([Entering(run=1, hook="on_message:answer")], id="nothing-else"),
        pytest.param([*[LogNote(text="x" * 8000)] * 20, Entering(run=1, hook="on_message:answer")], id="after-notes"),
    ],
)
async def test_the_hook_that_a_buried_worker_was_in_is_known(words: list[Said]) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    keeper = Keeper()
    worker = Worker(keeper, 1, memory_bytes=1 << 30)
    await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
    done = worker.run(Step(turn=1, start=START), None, wall=60, left=60)
    theirs.sendall(b"".join(map(pack, words)))
    worker.hear_out()  # the loop had no chance to read in between
    worker.kill("hook_died")
    with pytest.raises(WorkerLost) as raised:
        await done
    assert raised.value.entered == Entering(run=1, hook="on_message:answer")
    assert keeper.gone == [worker]
    worker.hear_out()  # harmless on a dead one
    theirs.close()
