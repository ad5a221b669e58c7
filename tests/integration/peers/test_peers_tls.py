"""Gateways know each other by the platform's key, over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.support.keypair import Pair
from tests.support.rooms import Ear

from rolehost_api.errors import BadRequest
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import Message
from rolehost_api.link.peer import Attach, Beat, Forward, PeerHello, ToRelay
from rolehost_api.wire import Said
from rolehost_runtime.gateway.broker.state.memory_leases import MemoryLeases
from rolehost_runtime.gateway.peers import connection
from rolehost_runtime.gateway.peers.dialer import TlsPeerDialer
from rolehost_runtime.gateway.peers.guests import Guests
from rolehost_runtime.gateway.peers.identity import PlatformIdentity, Prove
from rolehost_runtime.gateway.peers.mesh import Mesh, PeerDialer
from rolehost_runtime.gateway.ports import OwnerLost
from rolehost_runtime.gateway.tables import GatewayEntry, Tables


class Plain:
    """mesh.PeerDialer over TCP, or over TLS that asks nothing."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context

    async def dial(self, peer: GatewayEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = peer.address.rpartition(":")
        return await asyncio.open_connection(host, int(port), ssl=self._context)


class NoSessions:
    async def host(self, *_: object) -> None:
        return None

    def forgotten(self, key: str) -> None:
        """None is held."""


def trusting(folder: Path, *pairs: Pair) -> Path:
    """A folder of certificates."""
    folder.mkdir(exist_ok=True)
    for number, pair in enumerate(pairs):
        (folder / f"{number}.pem").write_bytes(pair.pem)
    return folder


@pytest.fixture
def platform(tmp_path: Path) -> PlatformIdentity:
    pair = Pair(tmp_path, "platform")
    return PlatformIdentity(pair.key, trusting(tmp_path / "trusted", pair))


@asynccontextmanager
async def gateway(identity: PlatformIdentity, name: str = "there/1") -> AsyncIterator[str]:
    """A gateway's end that others dial; its address."""
    guests = Guests(NoSessions(), me=name, leaving=lambda: False, check=identity.signed)
    server = await asyncio.start_server(guests.serve, "127.0.0.1", 0, ssl=identity.server_context())
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await guests.stop()


async def heard_of(address: str, dialer: PeerDialer, prove: Prove) -> list[str]:
    """Who a gateway with this identity takes for alive at that address, after it was tried once."""
    tables = Tables()
    tables.gateways.replace_all({("there",): GatewayEntry("there", address)})
    mesh = Mesh(tables, dialer, prove=prove, me="here/1", pod="here", leases=MemoryLeases(), backoff_seconds=(0.01,))
    await mesh.start()
    try:
        async with asyncio.timeout(10):
            while not mesh.settled:
                await asyncio.sleep(0.01)
            seat = await asked(mesh, *mesh.owners()) if mesh.owners() else None
        return list(mesh.owners()) if seat is None and mesh.owners() else []
    finally:
        await mesh.stop()


async def asked(mesh: Mesh, owner: str) -> object:
    """Words reach a session's room only where the other end let us in."""
    attach = Attach(tenant="acme", tenant_uid="u", principal="svc:u", role="cat", session_id="abc")
    with suppress(OwnerLost):
        return await mesh.attach(owner, attach, Ear(), lambda: None)
    return "refused"


async def test_two_gateways_with_the_platforms_key_link(platform: PlatformIdentity) -> None:
    async with gateway(platform) as address:
        assert await heard_of(address, TlsPeerDialer(platform), platform.sign) == ["there/1"]


async def test_during_a_rotation_both_keys_are_taken(tmp_path: Path) -> None:
    """The new certificate is spread first; then one gateway after the other starts with the new key."""
    old, new = Pair(tmp_path, "old"), Pair(tmp_path, "new")
    trusted = trusting(tmp_path / "trusted", old, new)
    before, after = PlatformIdentity(old.key, trusted), PlatformIdentity(new.key, trusted)
    async with gateway(after, "there/2") as address:
        assert await heard_of(address, TlsPeerDialer(before), before.sign) == ["there/2"]
    async with gateway(before, "there/3") as address:
        assert await heard_of(address, TlsPeerDialer(after), after.sign) == ["there/3"]


@pytest.mark.parametrize("tls", [True, False], ids=["with-tls", "without"])
async def test_who_cannot_sign_as_the_platform_is_not_let_in(
    platform: PlatformIdentity, tmp_path: Path, tls: bool
) -> None:
    forger = Pair(tmp_path / "forger", "forger")
    forged = PlatformIdentity(forger.key, trusting(tmp_path / "forged", forger))
    async with gateway(platform) as address:
        dialer = Plain(PlatformIdentity.client_context() if tls else None)
        assert await heard_of(address, dialer, forged.sign) == []


async def test_a_listener_without_the_platforms_key_hears_not_a_word(
    platform: PlatformIdentity, tmp_path: Path
) -> None:
    forger = Pair(tmp_path / "forger", "forger")
    forged = PlatformIdentity(forger.key, trusting(tmp_path / "forged", forger))
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode(0, PeerHello(protocols=(1,), gateway="there/1", nonce=b"n" * 32)))
        heard.extend(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=forged.server_context())
    there = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert await heard_of(there, TlsPeerDialer(platform), platform.sign) == []
    assert heard == b""
    server.close()


def test_a_key_without_its_certificate_is_said_at_the_start(platform: PlatformIdentity, tmp_path: Path) -> None:
    other = Pair(tmp_path, "other")
    with pytest.raises(BadRequest) as raised:
        PlatformIdentity(other.key, tmp_path / "trusted").server_context()
    assert raised.value.code == "invalid_settings"
    assert "link.existingSecret" in raised.value.hint


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([(1, Forward(number=1, said=Said(message="x")))], id="before-it-said-who-it-is"),
        pytest.param([(0, PeerHello(protocols=(99,), gateway="x", proof=b"p" * 64))], id="another-version"),
        pytest.param([(0, PeerHello(protocols=(1,), gateway="x", proof=b"p" * 64))], id="a-proof-of-nothing"),
        pytest.param([(0, PeerHello(protocols=(1,), gateway="x"))], id="no-proof"),
        pytest.param([(0, Beat())], id="a-beat-first"),
    ],
)
async def test_who_breaks_the_protocol_loses_the_link(
    platform: PlatformIdentity, words: list[tuple[int, Message]]
) -> None:
    guests = Guests(NoSessions(), me="there/1", leaving=lambda: False, check=platform.signed)
    server = await asyncio.start_server(guests.serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    for channel, message in words:
        writer.write(encode(channel, message))
    async with asyncio.timeout(5):
        said = await reader.read()
    decoder: Decoder[ToRelay] = Decoder(ToRelay)
    assert [type(message) for _, message, _ in decoder.feed(said)] == [PeerHello]
    writer.close()
    server.close()
    await guests.stop()


async def test_a_peer_that_falls_silent_is_given_up(
    platform: PlatformIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "DEAD_SECONDS", 0.2)
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode(0, PeerHello(protocols=(1,), gateway="there/1", nonce=b"n" * 32)))
        await reader.read(1 << 20)
        await over.wait()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    tables = Tables()
    there = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    tables.gateways.replace_all({("there",): GatewayEntry("there", there)})
    changes: list[frozenset[str]] = []
    mesh = Mesh(
        tables,
        Plain(),
        prove=platform.sign,
        me="here/1",
        pod="here",
        leases=MemoryLeases(),
    )
    mesh.changed = lambda: changes.append(mesh.members)
    await mesh.start()
    async with asyncio.timeout(5):
        while len(changes) < 2:
            await asyncio.sleep(0.01)
    assert changes[:2] == [frozenset({"here/1", "there/1"}), frozenset({"here/1"})]
    await mesh.stop()
    over.set()
    server.close()
