"""What Prometheus reads of a gateway's turns, on real ports: good, slow, failed, cancelled, limited and invalid ones."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace as changed
from prometheus_client.parser import text_string_to_metric_families
from tests.support.house import Slow
from tests.support.rooms import CAT_1, CAT_2, FakePod, pod_entry, put, revision_entry, role_entry, world
from tests.support.tracing import KEY, traced
from websockets.asyncio.client import ClientConnection, connect

from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.crd.role import Objective, ObjectiveType, Slo
from rolehost_api.crd.rollout import Arm, Share
from rolehost_api.link.messages import StartTurn, TurnFailed
from rolehost_api.wire import Usage
from rolehost_runtime.core.assignment import Traffic
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.tables import Tables

SLO = Slo(
    objectives=[
        Objective(name="works", type=ObjectiveType.SUCCESS, target="99.5"),
        Objective(name="fast", type=ObjectiveType.LATENCY, target="95", threshold_milliseconds=100),
    ]
)


@dataclass
class World:
    tables: Tables
    port: int
    metrics_port: int
    model: Slow
    pod: FakePod

    async def page(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Values by the series' name, and by its labels in alphabetical order but for tenant and role."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer,
        ):
            found: dict[str, dict[tuple[str, ...], float]] = {}
            for family in text_string_to_metric_families(await answer.text()):
                for sample in family.samples:
                    labels = tuple(
                        value for name, value in sorted(sample.labels.items()) if name not in ("tenant", "role")
                    )
                    found.setdefault(sample.name, {})[labels] = sample.value
            return found

    async def turns(self) -> dict[tuple[str, str], float]:
        """Those that were counted, by objective and outcome."""
        page = (await self.page()).get("rolehost_slo_turns_total", {})
        return {(objective, outcome): value for (objective, outcome, _), value in page.items() if value}

    async def excluded(self) -> dict[tuple[str, ...], float]:
        return (await self.page()).get("rolehost_slo_excluded_turns_total", {})

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[ClientConnection]:
        headers = {"authorization": f"Bearer {KEY}"}
        async with connect(f"ws://127.0.0.1:{self.port}/role/cat", additional_headers=headers) as socket:
            yield socket

    def answers(self, *pieces: str) -> None:
        for piece in pieces:
            self.model.pieces.put_nowait(piece)
        self.model.pieces.put_nowait(ModelEnd("stop", Usage()))


@pytest.fixture
async def gateway() -> AsyncIterator[World]:
    tables, model = world(), Slow()
    role = role_entry()
    put(tables, replace(role, spec=changed(role.spec, slo=SLO)))
    tables.backends.put(("default",), BackendSpec(type=BackendType.OPENAI, base_url="http://model/v1"))
    async with traced("", tables=tables, models=Models({BackendType.OPENAI: model})) as (running, dialer):
        assert running.metrics_port is not None
        yield World(tables, running.port, running.metrics_port, model, dialer.pods["p1"])


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(await socket.recv())
        if frame["type"] in (kind, "error"):
            return frame


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


async def test_turns_that_went_well_were_slow_or_failed(gateway: World) -> None:
    async with gateway.talking() as socket:
        gateway.answers("Meow.")
        await socket.send('{"message": "quickly"}')
        first = await hear(socket, "response.done")
        assert first["status"] == "completed"
        late = "good" if first["metrics"]["ttft_ms"] <= 100 else "bad"  # whatever the machine does meanwhile
        assert await gateway.turns() == {("works", "good"): 1, ("fast", late): 1}

        await socket.send('{"message": "slowly"}')
        await asyncio.sleep(0.15)
        gateway.answers("Meow.")
        assert (await hear(socket, "response.done"))["metrics"]["ttft_ms"] > 100
        before = await gateway.turns()
        assert (before["works", "good"], before["fast", "bad"]) == (2, 1 + (late == "bad"))

        async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
            pod.send(channel, TurnFailed(code="logic_failed", hook="answer", where=""))

        gateway.pod.turn = fails
        await socket.send('{"message": "not at all"}')
        assert (await hear(socket, "response.done"))["status"] == "failed"
        after = await gateway.turns()
        assert (after["works", "bad"], after["fast", "bad"]) == (1, before["fast", "bad"] + 1)
    page = await gateway.page()
    assert page["rolehost_slo_target"] == {("works",): 0.995, ("fast",): 0.95}
    assert page["rolehost_turn_seconds_count"] == {(CAT_1,): 3}
    assert await gateway.excluded() == {}


async def test_turns_that_are_left_out(gateway: World) -> None:
    async with gateway.talking() as socket:
        await socket.send("this is no frame")
        assert (await hear(socket, "error"))["error"]["code"] == "malformed_json"
        await socket.send('{"message": "hello", "greeting": 9}')
        await hear(socket, "error")
        assert await gateway.excluded() == {("invalid",): 2}

        await socket.send('{"message": "hello", "client_msg_id": "c1"}')
        await until(lambda: bool(gateway.model.asked))
        await socket.send('{"message": "and me?", "busy_policy": "reject"}')
        assert (await hear(socket, "error"))["error"]["code"] == "busy"
        assert await gateway.excluded() == {("invalid",): 2, ("limited",): 1}
        gateway.answers("Meow.")
        await hear(socket, "response.done")

        await socket.send('{"message": "a long story"}')
        gateway.model.pieces.put_nowait("Once ")
        said = await hear(socket, "response.output_text.delta")
        await socket.send(json.dumps({"type": "response.cancel", "response_id": said["response_id"]}))
        assert (await hear(socket, "response.done"))["status"] == "cancelled"
    assert await gateway.excluded() == {("invalid",): 2, ("limited",): 1, ("cancelled",): 1}
    assert (await gateway.turns())["works", "good"] == 1


async def test_a_role_that_is_not_there_makes_no_series(gateway: World) -> None:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as http:
        for number in range(20):
            async with http.post(f"http://127.0.0.1:{gateway.port}/role/nobody-{number}", json={"message": "hi"}) as no:
                assert no.status == 404
    assert "rolehost_slo_target" not in await gateway.page()


async def test_sessions_of_a_rollout_and_a_tombstone(gateway: World) -> None:
    shares = (
        Share(revision=CAT_2, percent=100, tag="canary", arm=Arm.CANDIDATE),
        Share(revision=CAT_1, percent=0, arm=Arm.BASELINE),
    )
    role = gateway.tables.roles.get("acme", "cat")
    assert role is not None
    put(gateway.tables, revision_entry(sequence=2), replace(role, traffic=Traffic("cat-7", 2, shares)))
    put(gateway.tables, pod_entry("p1", revision=CAT_2))
    async with gateway.talking() as socket:
        gateway.answers("Meow.")
        await socket.send('{"message": "hello"}')
        assert (await hear(socket, "response.done"))["status"] == "completed"
    page = await gateway.page()
    assert page["rolehost_rollout_turns_total"] == {("Candidate", "2", "100", CAT_2, "cat-7"): 1}
    sessions = page["rolehost_rollout_sessions_total"]
    assert sessions["Candidate", "2", "anonymous", "", "assigned", "100", CAT_2, "cat-7", ""] == 1
    assert sessions["Candidate", "2", "anonymous", "works", "good", "100", CAT_2, "cat-7", "first"] == 1
    gateway.tables.roles.drop(("acme", "cat"))
    targets = (await gateway.page())["rolehost_slo_target"]
    assert len(targets) == 2
    assert all(map(math.isnan, targets.values()))
