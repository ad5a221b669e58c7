"""Real agents behind real TLS, and a gateway's pool before them: whose bytes go where when addresses are used again."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from tests.support.identities import ROOT, make_identity, mount_keys
from tests.support.pod import anybody
from tests.support.ports import free_port
from tests.support.rooms import ACME, EVIL, Clock, Shelves, pod_entry, put, revision_entry, world

from rolehost_api import bundle
from rolehost_api.crd.role import Logic, Persona, RoleTemplate
from rolehost_api.link.attestation import attests, fingerprint, namespace_key
from rolehost_api.link.framing import Decoder
from rolehost_api.link.messages import Hello, ToGateway
from rolehost_api.observed import PodReport
from rolehost_runtime.gateway.link.dialer import TlsDialer
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.tables import PodEntry, Tenant
from rolehost_runtime.gateway.upload.signing import LinkKey

PERSONA = "You are a cat whose name nobody else may hear."
ARCHIVE = bundle.compress(bundle.pack_files({"story.py": b"from rolehost import Role\ncat = Role('cat')\n"}))
REVISION = revision_entry(
    template=RoleTemplate(
        persona=Persona(system=PERSONA),
        logic=Logic(bundle=bundle.inspect(ARCHIVE).digest, entrypoint="story:cat"),
    )
)
WAIT = 20.0


class Tap:
    """Stands at an address, passes every byte on to the listener behind it, and keeps what came from the gateway."""

    def __init__(self) -> None:
        self.port = 0
        self.behind = 0
        self.connections: list[bytearray] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "Tap":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.connections.append(heard)
        try:
            ours, theirs = await asyncio.open_connection("127.0.0.1", self.behind)
        except OSError:
            writer.close()
            return
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, theirs, heard), self._pass(ours, writer, bytearray()))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
        try:
            while data := await reader.read(65_536):
                kept += data
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def close(self) -> None:
        self._server.close()


def records(stream: bytes) -> list[tuple[int, int]]:
    """(content type, length) of the TLS records in what a client sent; 23 is application data, or hidden handshake."""
    found, at = [], 0
    while at + 5 <= len(stream):
        length = int.from_bytes(stream[at + 3 : at + 5], "big")
        found.append((stream[at], length))
        at += 5 + length
    return found


@asynccontextmanager
async def agent(folder: Path, tenant: Tenant, uid: str, trusts: list[Ed25519PublicKey]) -> AsyncIterator[int]:
    """A pod of that namespace with that UID; its port."""
    port, health = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rolehost_runtime.sandbox"),
        *("--listen", f"127.0.0.1:{port}", "--health", f"127.0.0.1:{health}"),
        env={
            "PATH": os.environ["PATH"],
            "ROLEHOST_POD_UID": uid,
            "ROLEHOST_PLATFORM_KEYS_DIR": str(mount_keys(folder / uid / "keys", trusts)),
            "ROLEHOST_IDENTITY_DIR": str(make_identity(folder / uid / "identity", tenant.uid, uid)),
            "ROLEHOST_SCRATCH": str(folder / uid / "logic"),
        },
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(WAIT):
            while not await listens(port):
                await asyncio.sleep(0.05)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


class Gateway:
    """A pool over real connections. Its table is as stale as a test wants."""

    def __init__(self, signer: object) -> None:
        self.tables = world(ACME, EVIL)
        put(self.tables, REVISION)
        self.refused = 0
        dialer = TlsDialer(ROOT, self._refused)
        shelves = Shelves({(ACME.uid, bundle.inspect(ARCHIVE).digest): ARCHIVE})
        self.pool = LinkPool(
            self.tables, dialer, shelves, signer, Clock(), "gw",  # type: ignore[arg-type]
            require_gvisor=False, backoff_seconds=(0.05,),
        )  # fmt: skip

    def _refused(self) -> None:
        self.refused += 1

    def row(self, uid: str, port: int) -> PodEntry:
        """What the table says: a pod of acme's, with this UID, at this port."""
        made = pod_entry(uid, ACME, revision=REVISION.name)
        entry = PodEntry(made.tenant, uid, made.name, made.role, made.revision, f"127.0.0.1:{port}")
        put(self.tables, entry)
        return entry

    def report(self) -> PodReport:
        (one,) = self.pool._pod_reports()
        return one

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not true():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def gateway(signer: object) -> AsyncIterator[Gateway]:
    made = Gateway(signer)
    await made.pool.start()
    try:
        yield made
    finally:
        await made.pool.stop()


async def test_an_attested_pod_is_bound_over_tls(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    async with agent(tmp_path, ACME, "p1", [key.public_key()]) as port, gateway(key) as gw:
        gw.row("p1", port)
        await gw.until(lambda: gw.report().loaded)
        assert (gw.report().error, gw.refused) == (None, 0)


def test_the_gateways_own_loop_speaks_the_same_tls(tmp_path: Path) -> None:
    async def main() -> None:
        key = Ed25519PrivateKey.generate()
        async with gateway(key) as gw:
            async with agent(tmp_path, ACME, "p1", [key.public_key()]) as port:
                gw.row("p1", port)
                await gw.until(lambda: gw.report().loaded)
            async with agent(tmp_path, EVIL, "p9", [key.public_key()]) as stranger:
                gw.row("p1", stranger)
                await gw.until(lambda: gw.refused >= 2)
                assert not gw.report().loaded

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_reused_address_gets_nothing_of_the_bundle_and_a_newer_row_heals(tmp_path: Path) -> None:
    """A stale row says that A's pod is where B's pod is now."""
    key, tap = Ed25519PrivateKey.generate(), await Tap().start()
    async with (
        agent(tmp_path, ACME, "p1", [key.public_key()]) as mine,
        agent(tmp_path, EVIL, "p9", [key.public_key()]) as theirs,
        gateway(key) as gw,
    ):
        tap.behind = theirs
        gw.row("p1", tap.port)
        await gw.until(lambda: gw.refused >= 3)
        assert gw.report().error is not None
        assert gw.report().error.code == "pod_not_attested"  # type: ignore[union-attr]
        assert not gw.report().loaded
        assert len(tap.connections) >= 3
        silent = [bytes(heard) for heard in tap.connections[:3]]
        for heard in silent:
            kinds = [kind for kind, _ in records(heard)]
            # ClientHello, its echo for middleboxes, Finished, and at the end a word that there is no more.
            assert kinds[0] == 22
            assert sum(kind == 23 for kind in kinds) <= 2
            assert sum(length for kind, length in records(heard) if kind == 23) < 128
            assert len(heard) < 1024, "a handshake, and not a byte of anything else"
            assert PERSONA.encode() not in heard
        tap.behind = mine  # the address is A's again: the same row is right now
        await gw.until(lambda: gw.report().loaded)
        assert gw.report().error is None
        assert len(tap.connections[-1]) > len(ARCHIVE), "the positive control: the tap does see what is sent"


async def test_a_listener_of_a_tenants_own_with_a_hello_that_it_once_heard_gets_nothing(tmp_path: Path) -> None:
    """It repeats what A's pod said, under a certificate of its own: it has not that pod's private key."""
    key = Ed25519PrivateKey.generate()
    heard: list[bytes] = []

    async with agent(tmp_path, ACME, "p1", [key.public_key()]) as mine, gateway(key) as gw:
        reader, writer = await asyncio.open_connection("127.0.0.1", mine, ssl=anybody(), server_hostname="")
        hello = await reader.read(65_536)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        [(_, said, _)] = Decoder[ToGateway](ToGateway).feed(hello)
        assert isinstance(said, Hello)
        assert attests(said.attestation, namespace_key(ROOT, ACME.uid), "p1", fingerprint(der))
        writer.close()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(hello)
            heard.append(await reader.read(65_536))
            writer.close()

        stolen = make_identity(tmp_path / "stolen", EVIL.uid, "p1")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(stolen / "cert.pem", stolen / "key.pem")
        server = await asyncio.start_server(play, "127.0.0.1", 0, ssl=tls)
        async with server:
            gw.row("p1", server.sockets[0].getsockname()[1])
            await gw.until(lambda: len(heard) >= 2)
        assert set(heard) == {b""}
        assert gw.refused >= 2


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\x00\x00\x05\x00\x00\x00\x00\x00hello"])
async def test_a_listener_without_tls_gets_a_handshake_and_no_more(tmp_path: Path, greeting: bytes) -> None:
    heard: list[int] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        data = await reader.read(65_536)
        heard.append(data[0])
        if not greeting:
            writer.write(b"no TLS here, and never was")
        rest = await reader.read()
        assert len(data) + len(rest) < 1024
        writer.close()

    async with gateway(Ed25519PrivateKey.generate()) as gw:
        server = await asyncio.start_server(play, "127.0.0.1", 0)
        async with server:
            gw.row("p1", server.sockets[0].getsockname()[1])
            await gw.until(lambda: len(heard) >= 2 and gw.report().error is not None)
        assert set(heard) == {22}
        assert gw.report().error.code == "pod_not_attested"  # type: ignore[union-attr]


async def test_older_tls_is_not_spoken(tmp_path: Path) -> None:
    tls = anybody()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    async with agent(tmp_path, ACME, "p1", [Ed25519PrivateKey.generate().public_key()]) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="")


async def test_keys_are_rotated_while_pods_and_gateway_run(tmp_path: Path) -> None:
    """Pods learn the next key first; then the gateway's file changes; then the old key is forgotten."""
    now, following = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    file = tmp_path / "key.pem"
    keep(now, file)
    signer = LinkKey(file)
    async with agent(tmp_path, ACME, "p1", [now.public_key()]) as port:

        async def stands() -> bool:
            """Whether a gateway that dials anew is believed."""
            async with gateway(signer) as gw:
                gw.row("p1", port)
                with suppress(TimeoutError):
                    async with asyncio.timeout(3):
                        await gw.until(lambda: gw.report().loaded)
                return gw.report().loaded

        assert await stands()
        keep(following, file)
        assert not await stands(), "the pod has not heard of the next key"
        keep(now, file)
        mount_keys(tmp_path / "p1" / "keys", [now.public_key(), following.public_key()])
        assert await stands()
        keep(following, file)
        assert await stands()
        mount_keys(tmp_path / "p1" / "keys", [following.public_key()])
        assert await stands()
        keep(now, file)
        assert not await stands(), "the old key is worth nothing any more"


def keep(key: Ed25519PrivateKey, file: Path) -> None:
    """As a mounted Secret changes: another file in its place."""
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (file.parent / "new.pem").write_bytes(key.private_bytes(*pem))
    (file.parent / "new.pem").replace(file)


# ── the init container ──────────────────────────────────────────────────────────────


def attest(folder: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    """As the operator's Deployment runs it."""
    variables = {
        "ROLEHOST_POD_UID": "p1",
        "ROLEHOST_NAMESPACE_KEY_FILE": str(folder / "namespace-key"),
        "ROLEHOST_IDENTITY_DIR": str(folder / "identity"),
    }
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "rolehost_runtime.sandbox.attest"],
        env={"PATH": os.environ["PATH"], **variables, **changes},
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )


def test_the_init_container_leaves_an_identity_that_attests_and_nothing_more(tmp_path: Path) -> None:
    key = namespace_key(ROOT, ACME.uid)
    (tmp_path / "namespace-key").write_bytes(key)
    (tmp_path / "identity").mkdir()
    for _ in range(2):  # it may be run again
        done = attest(tmp_path)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]
    made = {path.name: path for path in (tmp_path / "identity").iterdir()}
    assert made.keys() == {"key.pem", "cert.pem", "attestation"}
    assert {path.stat().st_mode & 0o777 for path in made.values()} == {0o400}
    certificate = x509.load_pem_x509_certificate(made["cert.pem"].read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert attests(made["attestation"].read_bytes(), key, "p1", fingerprint(der))
    assert not any(key in path.read_bytes() or key.hex().encode() in path.read_bytes() for path in made.values())
    slow = ("cryptography.x509", "msgspec", "asyncio", "ssl", "pathlib", "argparse", "logging", "rolehost_api.errors")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rolehost_runtime.sandbox.certificate" in imported
    assert imported.isdisjoint(slow), "every pod's start waits for it"


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        pytest.param(b"short", {}, "holds no key", id="too-short-a-key"),
        pytest.param(bytes(32), {"ROLEHOST_IDENTITY_DIR": "/nowhere"}, "/nowhere", id="nowhere-to-write"),
        pytest.param(bytes(32), {"ROLEHOST_NAMESPACE_KEY_FILE": "/nowhere"}, "/nowhere", id="no-key"),
    ],
)
def test_an_init_container_that_cannot_says_why_in_one_line(
    tmp_path: Path, content: bytes, changes: dict[str, str], said: str
) -> None:
    (tmp_path / "namespace-key").write_bytes(content)
    (tmp_path / "identity").mkdir()
    done = attest(tmp_path, **changes)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("import time")]
    assert said in line
    assert list((tmp_path / "identity").iterdir()) == []
