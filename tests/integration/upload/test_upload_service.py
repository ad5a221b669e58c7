"""The upload service on a real port with its real checker process, spoken to by the gateway's own client."""

import asyncio
import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rolehost_api import bundle
from rolehost_api.errors import NotFound, Unavailable
from rolehost_runtime.gateway.edge.internal import SmallServer
from rolehost_runtime.gateway.tables import Tenant
from rolehost_runtime.gateway.upload import checker, signing
from rolehost_runtime.gateway.upload.client import UploadClient
from rolehost_runtime.gateway.upload.service import MAX_WAITING_OF_ONE, UploadService
from rolehost_runtime.gateway.upload.store import BundleStore

ACME, EVIL = Tenant("acme", "uid-acme"), Tenant("evil", "uid-evil")
KEY = Ed25519PrivateKey.generate()
TAR = bundle.pack_files({"story.py": b"from rolehost import Role\n", "lib/names.py": b"NAMES = []\n"})
DIGEST = bundle.digest(TAR)


@dataclass
class Stand:
    url: str
    client: UploadClient
    folder: Path

    async def push(self, archive: bytes, tenant: Tenant = ACME) -> tuple[int, bytes]:
        return await self.client.bundle(tenant, pieces(archive))


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 65_536):
        yield body[at : at + 65_536]


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    store = BundleStore(tmp_path / "bundles", tenant_max_bytes=1 << 20)
    store.prepare()
    server = SmallServer(UploadService(store, [KEY.public_key()]).app(), "127.0.0.1", 0)
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    async with UploadClient(url, KEY) as client:
        yield Stand(url, client, tmp_path / "bundles")
    await server.stop()


def tar(*members: tarfile.TarInfo, data: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return gzip.compress(packed.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


async def test_a_push_is_fetched_by_its_digest_and_unpacks_to_what_was_packed(stand: Stand) -> None:
    status, body = await stand.push(bundle.compress(TAR))
    assert (status, body) == (200, f'{{"digest": "{DIGEST}", "files": 2, "bytes": {len(TAR)}}}'.encode())
    assert bundle.decompress(await stand.client.fetch(ACME, DIGEST)) == TAR


async def test_another_form_of_the_same_files_has_the_same_digest(stand: Stand) -> None:
    first, second = member("b.py"), member("a.py")
    first.mtime, first.mode, first.uid = 1234, 0o600, 7
    _, shuffled = await stand.push(tar(first, second))
    _, canonical = await stand.push(bundle.compress(bundle.pack_files({"a.py": b"x", "b.py": b"x"})))
    assert shuffled == canonical


async def test_a_digest_gives_no_code_to_who_did_not_push_it(stand: Stand) -> None:
    await stand.push(bundle.compress(TAR))
    with pytest.raises(NotFound) as never:
        await stand.client.fetch(EVIL, "sha256:" + "0" * 64)
    with pytest.raises(NotFound) as others:
        await stand.client.fetch(EVIL, DIGEST)
    assert str(never.value) == str(others.value)
    assert await stand.push(bundle.compress(TAR), EVIL) == await stand.push(bundle.compress(TAR))
    assert bundle.decompress(await stand.client.fetch(EVIL, DIGEST)) == TAR


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        pytest.param(tar(member("../evil.py")), "bundle_path", id="climbs-out"),
        pytest.param(tar(member("/etc/evil.py")), "bundle_path", id="absolute"),
        pytest.param(tar(member("link", tarfile.SYMTYPE, "/etc/passwd")), "bundle_link", id="symbolic-link"),
        pytest.param(tar(member("link", tarfile.LNKTYPE, "story.py")), "bundle_link", id="hard-link"),
        pytest.param(tar(member("zeros.py"), data=bytes(40 << 20)), "bundle_ratio", id="bomb"),
        pytest.param(b"not an archive", "bundle_malformed", id="no-archive"),
        pytest.param(b"", "bundle_malformed", id="empty"),
    ],
)
async def test_a_bad_bundle_is_named_and_leaves_nothing(stand: Stand, archive: bytes, code: str) -> None:
    status, body = await stand.push(archive)
    assert status == 400
    assert f'"code":"{code}"'.encode() in body
    assert [path for path in stand.folder.rglob("*") if path.is_file()] == []


async def test_a_push_over_the_cap_is_cut_off(stand: Stand) -> None:
    status, body = await stand.push(b"x" * (10 * 1024 * 1024 + 1))
    assert (status, b"body_too_large" in body) == (413, True)
    assert [path for path in stand.folder.rglob("*") if path.is_file()] == []


async def test_slow_pushes_of_one_tenant_keep_no_other_out(stand: Stand) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bundle.compress(TAR)[:10]
        begun.release()
        await go_on.wait()
        yield bundle.compress(TAR)[10:]

    pushes = [asyncio.create_task(stand.client.bundle(ACME, slow())) for _ in range(MAX_WAITING_OF_ONE)]
    for _ in pushes:
        await begun.acquire()
    while (busy := await stand.push(bundle.compress(TAR)))[0] == 200:
        """The service has not read the first bytes of all of them yet."""
    assert (busy[0], b"upload_busy" in busy[1]) == (429, True)
    assert (await stand.push(bundle.compress(TAR), EVIL))[0] == 200
    go_on.set()
    assert [status for status, _ in await asyncio.gather(*pushes)] == [200] * len(pushes)
    assert (await stand.push(bundle.compress(TAR)))[0] == 200


async def test_only_a_digest_names_what_is_kept(stand: Stand, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"x")
    with pytest.raises(ValueError, match="digest"):
        BundleStore(stand.folder, 1 << 20).keep(ACME.uid, "../../" + "0" * 64, archive)


async def test_a_tenants_room_is_bounded_and_no_others_suffers(stand: Stand, tmp_path: Path) -> None:
    import random

    noise = random.Random(1)
    large = [bundle.compress(bundle.pack_files({"n.bin": noise.randbytes(600_000)})) for _ in range(2)]
    assert [(await stand.push(archive))[0] for archive in large] == [200, 429]
    assert (await stand.push(large[0]))[0] == 200
    assert (await stand.push(large[1], EVIL))[0] == 200


async def test_nobody_but_a_gateway_is_answered(stand: Stand) -> None:
    path = f"{signing.BUNDLES}/{ACME.uid}/{DIGEST}"
    await stand.push(bundle.compress(TAR))
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {signing.HEADER: "uid-acme.9999999999.AAAA"}):
            for method, where in (("GET", path), ("PUT", signing.BUNDLES), ("POST", signing.CHECK)):
                async with http.request(method, stand.url + where, headers=headers, data=b"x") as answer:
                    assert answer.status == 401
    async with UploadClient(stand.url, Ed25519PrivateKey.generate()) as forger:
        with pytest.raises(Unavailable):
            await forger.fetch(ACME, DIGEST)


async def test_a_manifest_is_checked_with_all_of_its_faults(stand: Stand) -> None:
    text = b"""
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: cat}
spec:
  template: {persona: {sytem: You are a cat.}}
  slo: {objectives: [{name: a, type: Success, target: "100"}]}
"""
    status, body = await stand.client.check(ACME, pieces(text))
    assert status == 200
    assert b"sytem" in body
    assert b"target" in body
    good = text.replace(b"sytem", b"system").replace(b'"100"', b'"99.5"')
    assert await stand.client.check(ACME, pieces(good)) == (200, b'{"findings": []}')


async def test_a_manifest_that_eats_memory_is_refused_and_the_service_lives(stand: Stand) -> None:
    bomb = (
        b"a: &a ["
        + b"x," * 1000
        + b"]\n"
        + b"".join(f"{chr(98 + i)}: &{chr(98 + i)} [{(f'*{chr(97 + i)},') * 50}]\n".encode() for i in range(12))
    )
    status, _ = await stand.client.check(ACME, pieces(bomb))
    assert status in (200, 400, 503)
    assert (await stand.push(bundle.compress(TAR)))[0] == 200


async def test_a_checker_that_does_not_end_is_killed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    pipe = tmp_path / "never"
    os.mkfifo(pipe)
    with pytest.raises(Unavailable) as killed:
        await checker.run("manifest", str(pipe), seconds=1.0)
    assert killed.value.code == "check_failed"
    assert list(scratch.iterdir()) == []


async def test_without_the_service_pushes_say_so() -> None:
    async with UploadClient("http://127.0.0.1:9", KEY) as client:
        with pytest.raises(Unavailable) as away:
            await client.bundle(ACME, pieces(b"x"))
    assert (away.value.code, away.value.retryable) == ("upload_unavailable", True)
