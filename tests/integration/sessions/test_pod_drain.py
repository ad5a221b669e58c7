"""Pods are told to end while they answer: the answer goes on to its end, and the session goes on in another pod (F41)."""

import json
import os
import signal

import pytest
from tests.support.gateway_process import quote
from tests.support.killing import Platform
from tests.support.surviving import LONG, Frame, hear, opened, records

from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

pytestmark = pytest.mark.timeout(180)


async def test_a_stream_goes_on_while_its_pod_drains_and_the_next_comes_from_another(
    on: tuple[Platform, RedisSessionStore],
) -> None:
    """Each pod is told to end in the middle of an answer, so one of them in its own; no frame tells of it but the
    text. What the logic counts goes on as well: the state went along."""
    built, store = on
    socket = await opened(built.port)
    await hear(socket, "session.resumed")
    frames: list[Frame] = []
    starts = {uid: pod.starts for uid, pod in built._pods.items()}
    for number, uid in enumerate((*built._pods, None), 1):
        await socket.send(json.dumps({"message": LONG, "client_msg_id": f"c{number}"}))
        frames += await hear(socket, "response.output_text.delta")
        if uid is not None:
            os.kill(built._pods[uid].pid, signal.SIGTERM)
        frames += await hear(socket, "response.done")
        done = frames[-1]
        assert (done["status"], done["client_msg_id"]) == ("completed", f"c{number}")
        told = "".join(
            frame["delta"] for frame in frames if frame.get("response_id") == done["response_id"] and "delta" in frame
        )
        assert told == done["message"]
        assert done["message"].endswith(f" #{number}")
    assert not [frame for frame in frames if frame["type"] in ("error", "response.reset", "session.resumed")]
    numbers = [frame["seq"] for frame in frames if frame["seq"] is not None]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    log = await records(store)
    assert [record.input for record in log] == [LONG] * 3
    assert log[0].reply == quote("", LONG) + " #1"
    assert all(pod.starts > starts[uid] for uid, pod in built._pods.items())  # each has ended, and come again
    await socket.close()
