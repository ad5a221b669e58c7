"""gRPC as a part of the whole gateway: served where it has a port, not even loaded where it has none, gone at the end."""

import asyncio
import subprocess
import sys
from typing import Any

import grpc
import pytest
from tests.support.edge import ACME_KEY, tables_with_storyteller
from tests.support.rooms import PodDialer, Shelves
from tests.support.rpc import client, opened

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.app import Adapters, Gateway, Options
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth


async def yes() -> bool:
    return True


def gateway(**more: Any) -> Gateway:
    tables, dialer = tables_with_storyteller(), PodDialer()
    adapters = Adapters(
        tables=tables,
        dialer=dialer,
        bundles=Shelves(),
        store=MemorySessionStore(),
        models=Models({BackendType.SCRIPTED: ScriptedProvider()}),
        auth=KeyAuth(tables.keys),
        signing_key=dialer.key,
        store_answers=yes,
    )
    return Gateway(Options(port=0, **more), adapters)


async def test_clients_of_both_ports_are_asked_to_move_and_then_it_is_over() -> None:
    running = gateway(grpc_port=0, drain_seconds=5, migrate_seconds=0.1)
    await running.start()
    port = running.grpc_port
    async with client(port, ACME_KEY) as acme:
        talking = acme.converse()
        await talking.send(opened("storyteller", session_id="s"))
        await talking.until("session.created")
        stopping = asyncio.ensure_future(running.stop())
        assert (await talking.until("session.migrate"))["reason"] == "drain"
        assert await talking.ending() == ("UNAVAILABLE", "draining")
        async with asyncio.timeout(20):
            await stopping
        assert await acme.converse(opened("storyteller")).call.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_connection_without_a_call_is_told_to_go_when_the_gateway_goes() -> None:
    """Else a client would come back to the gateway that leaves, on the connection that it has, for as long as that takes."""
    leaving, turn = gateway(grpc_port=0, drain_seconds=20), asyncio.Event()
    await leaving.start()

    async def running() -> None:
        await turn.wait()

    async with client(leaving.grpc_port, ACME_KEY) as idle:
        leaving._hub.start(running())
        await idle.converse(opened("storyteller")).rest()
        assert idle.channel.get_state() is grpc.ChannelConnectivity.READY
        stopping = asyncio.ensure_future(leaving.stop())
        async with asyncio.timeout(20):
            while idle.channel.get_state() is grpc.ChannelConnectivity.READY:
                await asyncio.sleep(0.01)
        assert not stopping.done()
        turn.set()
        async with asyncio.timeout(20):
            await stopping


async def test_a_port_that_is_taken_is_said_before_anything_starts() -> None:
    first = gateway(grpc_port=0)
    await first.start()
    second = gateway(grpc_port=first.grpc_port)
    with pytest.raises(Unavailable) as refused:
        await second.start()
    assert refused.value.code == "port_taken"
    await first.stop()


def test_who_does_not_serve_it_does_not_load_it() -> None:
    loaded = """
import sys
import rolehost.cli, rolehost_operator.commands, rolehost_runtime.gateway.app, rolehost_runtime.gateway.upload.service
import rolehost_runtime.local.dev, rolehost_runtime.sandbox.commands
print([name for name in sys.modules if name.partition(".")[0] in ("grpc", "google")])
"""
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


async def test_without_a_port_there_is_none() -> None:
    running = gateway()
    await running.start()
    with pytest.raises(RuntimeError, match="no gRPC"):
        _ = running.grpc_port
    await running.stop()
