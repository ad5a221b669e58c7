"""ports.SegmentStore: one suite for an object store on the S3 wire, for a folder, and for the fake."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.objects import BUILD_SECONDS, S3, s3

from rolehost_api.errors import BadRequest, NotFound, Unavailable
from rolehost_runtime.core.record import CorruptRecord
from rolehost_runtime.gateway.broker.archive import objects, probe
from rolehost_runtime.gateway.broker.archive.memory import MemorySegments
from rolehost_runtime.gateway.broker.archive.objects import ObjectSegments
from rolehost_runtime.gateway.broker.archive.probe import ArchiveProbe
from rolehost_runtime.gateway.ports import MAX_OBJECT_BYTES, SegmentStore

NAME = "9f3c-uid/k7/l1/3-1.0-64.2-" + 32 * "a"
OTHER = "9f3c-uid/k7/l2/4-65.0-70.0-" + 32 * "b"
pytestmark = pytest.mark.timeout(30 + BUILD_SECONDS)


@pytest.fixture(scope="module")
def wire() -> Iterator[S3]:
    with s3() as served:
        yield served


@pytest.fixture(params=["s3", "folder", "memory"])
def segments(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SegmentStore]:
    if request.param == "memory":
        yield MemorySegments()
    elif request.param == "folder":
        yield ObjectSegments.connect((tmp_path / "not there yet").as_uri())
    else:
        wire: S3 = request.getfixturevalue("wire")
        with wire.environment():
            yield ObjectSegments.connect(f"{wire.url}/{tmp_path.name}")


async def test_what_was_put_is_got_byte_for_byte(segments: SegmentStore) -> None:
    body = bytes(range(256)) * 4096
    await segments.put(NAME, body)
    assert await segments.get(NAME) == body
    await segments.put(NAME, b"")
    assert await segments.get(NAME) == b""


async def test_what_is_not_there_is_said(segments: SegmentStore) -> None:
    with pytest.raises(NotFound) as raised:
        await segments.get(NAME)
    assert raised.value.code == "segment_not_found"


async def test_a_folder_is_listed_with_all_in_it_and_nothing_beside_it(segments: SegmentStore) -> None:
    beside = NAME.replace("k7", "k70")
    for name in (NAME, OTHER, beside):
        await segments.put(name, b"x")
    assert sorted(await segments.list("9f3c-uid/k7/", 9)) == [NAME, OTHER]
    assert await segments.list("9f3c-uid/k7/l2/", 9) == [OTHER]
    assert len(await segments.list("9f3c-uid/", 2)) == 2
    assert list(await segments.list("nobody/", 9)) == []


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(segments: SegmentStore) -> None:
    await segments.put(NAME, b"x")
    await segments.put(OTHER, b"y")
    await segments.delete([NAME, "u/k/never/there"])
    await segments.delete([NAME])
    assert list(await segments.list("9f3c-uid/", 9)) == [OTHER]
    with pytest.raises(NotFound):
        await segments.get(NAME)


async def test_a_probe_says_what_can_be_done_and_leaves_nothing(segments: SegmentStore) -> None:
    found = await ArchiveProbe(segments, "gw-1").facts()
    assert (found.configured, found.failed, found.trouble) == (True, "", "")
    assert list(await segments.list("rolehost-doctor/", 9)) == []


@pytest.mark.parametrize("step", ["write", "list", "read", "delete"])
async def test_a_probe_says_which_step_it_is_that_cannot_be_done(
    segments: SegmentStore, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by itself, as rights may be: refused, without an answer, and not what was said."""
    method = {"write": "put", "read": "get"}.get(step, step)

    async def refused(*_: object) -> None:
        raise Unavailable("no rights", code="archive_unavailable")

    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    for harm, trouble in ((refused, "no rights"), (silent, "no answer within")):
        with monkeypatch.context() as patched:
            patched.setattr(segments, method, harm)
            patched.setattr(probe, "SECONDS", 0.5)
            found = await ArchiveProbe(segments, "gw-1").facts()
        assert (found.configured, found.failed) == (True, step)
        assert trouble in found.trouble
    found = await ArchiveProbe(segments, "gw-1").facts()
    assert not found.failed
    assert list(await segments.list("rolehost-doctor/", 9)) == [], "what the last one left was written over, and went"


async def test_a_probe_believes_nothing(segments: SegmentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = segments.put

    async def torn(name: str, body: bytes) -> None:
        await put(name, body[:-1])

    async def nowhere(name: str, body: bytes) -> None:
        """It says that it was kept."""

    monkeypatch.setattr(segments, "put", torn)
    assert (await ArchiveProbe(segments, "gw-1").facts()).failed == "read"
    await segments.delete(["rolehost-doctor/gw-1"])
    monkeypatch.setattr(segments, "put", nowhere)
    assert (await ArchiveProbe(segments, "gw-1").facts()).failed == "list"
    assert (await ArchiveProbe(None, "gw-1", forgets=True).facts()).forgets


async def test_more_than_a_segment_may_have_is_not_put(segments: SegmentStore) -> None:
    with pytest.raises(BadRequest) as raised:
        await segments.put(NAME, bytes(MAX_OBJECT_BYTES + 1))
    assert raised.value.code == "segment_too_large"
    assert list(await segments.list("9f3c-uid/", 9)) == []


async def test_more_than_a_segment_may_have_is_not_read_either(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(MAX_OBJECT_BYTES + 1))
    with pytest.raises(CorruptRecord):
        await ObjectSegments.connect(tmp_path.as_uri()).get("large")


async def test_a_bucket_that_is_not_there_and_a_store_that_is_away_are_said(
    wire: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "RETRIES", 0)
    with wire.environment():
        nowhere = ObjectSegments.connect("s3://no-such-bucket/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        away = ObjectSegments.connect(wire.url)
    with pytest.raises(Unavailable) as raised:
        await nowhere.put(NAME, b"x")
    assert (raised.value.code, raised.value.retryable) == ("archive_unavailable", True)
    for asked in (away.put(NAME, b"x"), away.get(NAME), away.list("u/", 1), away.delete([NAME])):
        with pytest.raises(Unavailable) as raised:
            await asked
        assert raised.value.code == "archive_unavailable"
        assert "127.0.0.1" not in str(raised.value), "addresses stay in the platform's own settings"


@pytest.mark.parametrize("url", ["", "nowhere", "s3://", "s3://key:secret@bucket", "ftp://x/y", "file:relative"])
def test_what_is_no_object_store_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadRequest) as raised:
        ObjectSegments.connect(url)
    assert raised.value.code == "invalid_archive_url"
    assert "secret" not in str(raised.value)
