"""A gateway as a process, for a herd: several tenants, as one has no room for 5,000 sessions in one gateway.

    python -m tests.bench.herd_gateway '{"port": …, "redis": "unix://…", "key": "<hex>", "pods": {…}, …}'

As tests.support.gateway_process, whose Role its first tenant has with a pod; the others have the same Role, and no pod:
their people listen. With `model`, a URL, that takes the scripted model's place; with `traces`, one, turns are traced.
"""

import json
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace as replaced
from tests.support.gateway_process import LOGIC, quote
from tests.support.identities import ROOT
from tests.support.rooms import ACME, Shelves, pod_entry, put, revision_entry, serve, world

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ScriptLine, ServedModel
from rolehost_api.crd.role import Logic, Persona, RoleTemplate
from rolehost_api.identity import key_hash
from rolehost_runtime.gateway.app import Adapters, Gateway, Options, Peering
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_leases import RedisLeases
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth
from rolehost_runtime.gateway.link.dialer import TlsDialer
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.peers.identity import PlatformIdentity
from rolehost_runtime.gateway.tables import GatewayEntry, KeyEntry, RevisionEntry, Scope, Tables, Tenant
from rolehost_runtime.gateway.tracing.opening import Telemetry, TraceSettings

TENANTS = (ACME, Tenant("blue", "uid-blue"), Tenant("cyan", "uid-cyan"))
ROLE = "cat"


def client_key(tenant: Tenant) -> str:
    return f"rh_1_{tenant.name}"


def revision_of(tenant: Tenant) -> RevisionEntry:
    template = RoleTemplate(persona=Persona(system="You are a cat."), logic=Logic(inline=LOGIC))
    return revision_entry(tenant, ROLE, template=template)


def tables_of(pods: dict[str, str], peers: dict[str, str], model: str) -> Tables:
    tables = world(*TENANTS)
    script = [ScriptLine(reply=quote("{previous}", "{message}"))]
    backend = BackendSpec(type=BackendType.SCRIPTED, script=script)
    if model:
        served = [ServedModel(name="instant", model="instant")]
        backend = BackendSpec(type=BackendType.OPENAI, base_url=model, models=served)
    tables.backends.put(("default",), backend)
    for tenant in TENANTS:
        role = tables.roles.get(tenant.name, ROLE)
        assert role is not None
        put(tables, replace(role, spec=replaced(role.spec, sessions=replaced(role.spec.sessions, max_per_pod=100_000))))
        serve(tables, revision_of(tenant))
        key = KeyEntry("1", key_hash(client_key(tenant)), tenant, frozenset({Scope.CHAT}))
        tables.keys.put((key.sha256,), key)
    for uid, address in pods.items():
        put(tables, replace(pod_entry(uid, revision=revision_of(ACME).name), address=address))
    tables.gateways.replace_all({(one,): GatewayEntry(one, address) for one, address in peers.items()})
    return tables


def gateway_of(told: dict[str, Any]) -> Gateway:
    name, peers = told["name"], told["peers"]
    owner = f"{name}/{secrets.token_hex(8)}"
    tables = tables_of(told["pods"], peers if len(peers) > 1 else {}, told.get("model", ""))
    store = RedisSessionStore.connect(told["redis"], owner=owner)
    leases = RedisLeases.connect(told["redis"])
    identity, openai = Path(told["identity"]), HttpProvider(KeyRing(None))
    metrics = Metrics()
    telemetry = Telemetry.of(TraceSettings(endpoint=told.get("traces", ""), name=name), metrics.registry)
    known = PlatformIdentity(identity / "platform.key", identity / "trusted")
    adapters = Adapters(
        tables=tables,
        dialer=TlsDialer(ROOT, lambda: None),
        bundles=Shelves(),
        store=store,
        models=Models({BackendType.SCRIPTED: ScriptedProvider(0.001), BackendType.OPENAI: openai}),
        auth=KeyAuth(tables.keys),
        signing_key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(told["key"])),
        store_answers=store.answers,
        require_gvisor=False,
        peering=Peering(identity=known, leases=leases) if len(peers) > 1 else None,
        owner=owner,
        tracer=telemetry.tracer,
        feeds=telemetry.feeds,
        closing=(telemetry.close, openai.close, store.close, leases.close),
    )
    peer_port = int(peers[name].rpartition(":")[2]) if len(peers) > 1 else None
    return Gateway(Options(name=name, port=told["port"], drain_seconds=0, peer_port=peer_port), adapters, metrics)


async def main(told: dict[str, Any]) -> None:
    await gateway_of(told).run()


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
