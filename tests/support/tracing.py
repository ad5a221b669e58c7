"""A whole gateway on real ports, with fakes where pods, stores and models are, that sends its traces somewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.identities import ROOT
from tests.support.rooms import ACME, PodDialer, Shelves, pod_entry, put, world

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.identity import key_hash
from rolehost_runtime.gateway.app import Adapters, Gateway, Options, wall_ms
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth, Tokens
from rolehost_runtime.gateway.edge.tokens import signing_key
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.tables import KeyEntry, Scope, Tables
from rolehost_runtime.gateway.tracing.opening import Telemetry, TraceSettings

KEY = "rh_1_tracing"
DEFAULT = Options(port=0, metrics_port=0)


async def yes() -> bool:
    return True


@asynccontextmanager
async def traced(
    url: str,
    *,
    tables: Tables | None = None,
    models: Any = None,
    store: Any = None,
    auth: Any = None,
    options: Options = DEFAULT,
    closing: Sequence[Callable[[], Awaitable[None]]] = (),
    **settings: Any,
) -> AsyncIterator[tuple[Gateway, PodDialer]]:
    """Its Role is `cat` of tenant `acme`, with one pod. An empty `url`: nothing is traced. Its end users' tokens are signed
    with ROOT."""
    tables, dialer, metrics = tables or world(ACME), PodDialer(), Metrics()
    entry = KeyEntry("1", key_hash(KEY), ACME, frozenset({Scope.CHAT, Scope.PUSH, Scope.ACT_AS_USER}))
    tables.keys.replace_all({(entry.sha256,): entry})
    telemetry = Telemetry.of(TraceSettings(endpoint=url, **settings), metrics.registry)
    adapters = Adapters(
        tables=tables,
        dialer=dialer,
        bundles=Shelves(),
        store=store or MemorySessionStore(),
        models=models or Models({BackendType.SCRIPTED: ScriptedProvider()}),
        auth=auth or KeyAuth(tables.keys, Tokens(signing_key(ROOT), wall_ms)),
        signing_key=dialer.key,
        store_answers=yes,
        tracer=telemetry.tracer,
        feeds=telemetry.feeds,
        closing=(telemetry.close, *closing),
    )
    gateway = Gateway(options, adapters, metrics)
    dialer.add("p1")
    role = tables.roles.get("acme", "cat")
    assert role is not None
    put(tables, pod_entry("p1", revision=role.stable))
    await gateway.start()
    try:
        yield gateway, dialer
    finally:
        await gateway.stop()
