"""A gateway as a process of its own that can be killed: real sockets, real Redis, pods at fixed addresses.

    python -m tests.support.gateway_process '{"port": …, "redis": "unix://…", "key": "<hex>", "pods": {"p1": "127.0.0.1:1"}}'

Its one tenant has one Role, whose logic counts its turns and quotes what was said before. With `peers` it is one of
several gateways: their names and addresses, its own name, and where the platform's key and certificates lie.
"""

import asyncio
import json
import secrets
import sys
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace as replaced
from tests.support.identities import ROOT
from tests.support.rooms import ACME, Shelves, pod_entry, put, revision_entry, serve, world

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ScriptLine
from rolehost_api.crd.role import Logic, Persona, RoleTemplate
from rolehost_api.identity import key_hash
from rolehost_runtime.core import session, snapshot
from rolehost_runtime.gateway.app import Adapters, Gateway, Options, Peering
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_leases import RedisLeases
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth
from rolehost_runtime.gateway.link.dialer import TlsDialer
from rolehost_runtime.gateway.peers.identity import PlatformIdentity
from rolehost_runtime.gateway.tables import GatewayEntry, KeyEntry, Scope, Tables

CLIENT_KEY = "rh_1_acme"
PIECE_SECONDS = 0.002
"""Between pieces of the model's answer: a turn lasts long enough to be killed at any place of it."""
EVERY_TURNS, PAST_TURNS = 4, 3
"""Snapshots so often, and so little held of the past, that who is killed leaves sessions at every stage of one."""
LOGIC = """
from rolehost import Role, State, Turn

class Count(State):
    turns: int = 0

cat = Role("cat", state=Count)

@cat.on_message
async def answer(t: Turn[Count]) -> None:
    t.state.turns += 1
    await t.reply(t.ask())
    t.say(f" #{t.state.turns}")
"""


def quote(previous: str, message: str) -> str:
    """What the model says to a message, by the turn before it."""
    return f"After <{previous}> you said <{message}>."


def tables_of(pods: dict[str, str], logic: str = LOGIC) -> Tables:
    tables = world(ACME)
    script = [ScriptLine(reply=quote("{previous}", "{message}"))]
    tables.backends.put(("default",), BackendSpec(type=BackendType.SCRIPTED, script=script))
    role = tables.roles.get("acme", "cat")
    assert role is not None
    sessions = replaced(role.spec.sessions, turn_timeout_seconds=10)
    put(tables, replace(role, spec=replaced(role.spec, sessions=sessions)))
    template = RoleTemplate(persona=Persona(system="You are a cat."), logic=Logic(inline=logic))
    revision = serve(tables, revision_entry(template=template))
    for uid, address in pods.items():
        put(tables, replace(pod_entry(uid, revision=revision.name), address=address))
    key = KeyEntry("1", key_hash(CLIENT_KEY), ACME, frozenset({Scope.CHAT, Scope.ACT_AS_USER}))
    tables.keys.put((key.sha256,), key)
    return tables


def gateway_of(
    port: int,
    redis: str,
    key: str,
    pods: dict[str, str],
    name: str = "local",
    metrics: int | None = None,
    peers: dict[str, str] | None = None,
    identity: str = "",
    logic: str = LOGIC,
) -> Gateway:
    tables, owner = tables_of(pods, logic), f"{name}/{secrets.token_hex(8)}"
    if peers:
        tables.gateways.replace_all({(one,): GatewayEntry(one, address) for one, address in peers.items()})
    store = RedisSessionStore.connect(redis, owner=owner)
    leases = RedisLeases.connect(redis)
    known = PlatformIdentity(Path(identity, "platform.key"), Path(identity, "trusted"))
    adapters = Adapters(
        tables=tables,
        dialer=TlsDialer(ROOT, lambda: None),
        bundles=Shelves(),
        store=store,
        models=Models({BackendType.SCRIPTED: ScriptedProvider(PIECE_SECONDS)}),
        auth=KeyAuth(tables.keys),
        signing_key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key)),
        store_answers=store.answers,
        require_gvisor=False,
        peering=Peering(identity=known, leases=leases) if peers else None,
        owner=owner,
        closing=(store.close, leases.close),
    )
    peer_port = int(peers[name].rpartition(":")[2]) if peers else None
    options = Options(name=name, port=port, drain_seconds=0, peer_port=peer_port, metrics_port=metrics)
    return Gateway(options, adapters)


if __name__ == "__main__":
    snapshot.EVERY_TURNS, session.MAX_PAST_TURNS = EVERY_TURNS, PAST_TURNS
    asyncio.run(gateway_of(**json.loads(sys.argv[1])).run())
