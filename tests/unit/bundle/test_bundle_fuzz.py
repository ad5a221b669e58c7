"""Archives that are nearly right: taken whole and read as the standard library reads them, or refused without a trace."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.proof import NUMBERS, SOAK

from rolehost_api import bundle
from rolehost_api.errors import InvalidBundle

CODES = frozenset(
    f"bundle_{what}"
    for what in (
        "malformed", "path", "link", "duplicate", "forbidden_name", "too_many_files", "too_large", "ratio"
    )
)  # fmt: skip
BLOCK = 512
FIELDS = {
    "name": (0, 100), "mode": (100, 108), "size": (124, 136), "time": (136, 148), "checksum": (148, 156),
    "kind": (156, 157), "link": (157, 257), "magic": (257, 265), "prefix": (345, 500), "rest": (500, 512),
}  # fmt: skip

PARTS = st.sampled_from(
    ["a", "b.py", "A", "é", "e\u0301", "..", ".", "", "x.pth", "sitecustomize.py", "__pycache__", "C:", "\\", "n" * 101]
) | st.text("ab./-_ \n\u202e", max_size=4)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from([b"0", b"0", b"0", b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"x", b"g", b"S"])


def entry(name: str, data: bytes, kind: bytes, claimed: int | None) -> bytes:
    """One entry, its checksum right, and the size that it claims perhaps not."""
    block = bytearray(BLOCK)
    raw = name.encode("utf-8", "surrogatepass")[:100]
    block[: len(raw)] = raw
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136] = f"{len(data) if claimed is None else claimed:011o}".encode() + b"\0"
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[157:168] = b"/etc/passwd"
    block[257:265] = b"ustar\x0000"
    return seal(block) + data + bytes(-len(data) % BLOCK)


def seal(block: bytearray) -> bytes:
    """With the checksum that fits."""
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


ENTRIES = st.builds(
    entry, NAMES, st.binary(max_size=700), KINDS, st.none() | st.none() | st.integers(0, 2000) | st.just(8**11 - 1)
)
GOOD = st.dictionaries(st.sampled_from(["a.py", "b/c.py", "é.txt", "b/d/e"]), st.binary(max_size=700), max_size=4).map(
    bundle.pack_files
)


def wound(archive: bytes, at: int, field: str, value: bytes, sealed: bool) -> bytes:
    """One field of one header overwritten, and the checksum put right again or not."""
    place = BLOCK * (at % max(1, len(archive) // BLOCK))
    block = bytearray(archive[place : place + BLOCK])
    low, high = FIELDS[field]
    value = value[: high - low]
    block[low : low + len(value)] = value
    return (
        archive[:place] + (seal(block) if sealed and len(block) == BLOCK else bytes(block)) + archive[place + BLOCK :]
    )


TARS = st.one_of(
    st.builds(
        lambda parts, end: b"".join(parts) + bytes(BLOCK * end), st.lists(ENTRIES, max_size=5), st.integers(0, 3)
    ),
    st.builds(
        wound,
        GOOD,
        st.integers(0, 8),
        st.sampled_from(sorted(FIELDS)),
        st.binary(min_size=1, max_size=155),
        st.booleans(),
    ),
    st.builds(lambda tar, cut: tar[: cut % (len(tar) + 1)], GOOD, st.integers(0, 1 << 16)),
    st.builds(lambda one, other: one + other, GOOD, GOOD),
    st.builds(lambda one, other: one[: -2 * BLOCK] + other, GOOD, GOOD),
)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)


TRANSPORTS = st.one_of(
    st.just(gzip.compress),
    st.just(gzip.compress),
    st.just(gzip.compress),
    st.just(raw_deflate),
    st.integers(0, 400).map(lambda cut: lambda tar: gzip.compress(tar)[:cut]),
    st.tuples(st.integers(0, 60), st.integers(0, 255)).map(
        lambda hit: lambda tar: (packed := gzip.compress(tar))[: hit[0]] + bytes([hit[1]]) + packed[hit[0] + 1 :]
    ),
    st.just(lambda tar: gzip.compress(tar[:BLOCK]) + gzip.compress(tar[BLOCK:])),
)


@pytest.mark.timeout(300 if not SOAK else 7200)
@settings(max_examples=NUMBERS.bundles_fuzzed, suppress_health_check=[HealthCheck.too_slow])
@given(TARS, TRANSPORTS)
def test_an_archive_is_taken_as_everybody_reads_it_or_leaves_no_trace(tar: bytes, transport: object) -> None:
    assert callable(transport)
    archive: bytes = transport(tar)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "neighbour").write_text("untouched")
        try:
            contents = bundle.extract(archive, home / "out")
        except InvalidBundle as refused:
            code = refused.code
            left = os.listdir(home)
        else:
            code = ""
            left = ["neighbour"]
            assert set(os.listdir(home)) == {"neighbour", "out"}
            assert _tree(home / "out") == _as_tarfile_reads(bundle.decompress(archive))
            assert sorted(contents.files) == sorted(_tree(home / "out"))
            assert contents.digest == bundle.digest(bundle.decompress(archive))
        assert (left, (home / "neighbour").read_text()) == (["neighbour"], "untouched")
    assert code in CODES | {""}
    assert _inspected(archive) == code


def _inspected(archive: bytes) -> str:
    """The code by which it is refused without being written; empty where it is taken."""
    try:
        bundle.inspect(archive)
    except InvalidBundle as refused:
        return refused.code
    return ""


def _tree(folder: Path) -> dict[str, bytes]:
    """Every file below, none of them anything but a plain file that nobody may run."""
    found = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        if stat.S_ISREG(mode):
            assert not mode & 0o7111
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def _as_tarfile_reads(tar: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", encoding="utf-8") as opened:
        for member in opened:
            assert member.isreg() or member.isdir()
            if member.isreg():
                file = opened.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found
