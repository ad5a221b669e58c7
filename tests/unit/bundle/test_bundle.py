"""Bundles: the same bytes for the same contents, and an extractor that takes nothing else.

Archives are made by the standard library's tarfile where it can make the evil thing, so
the reader is held against a writer that is not ours.
"""

import gzip
import io
import os
import tarfile
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolehost_api import bundle
from rolehost_api.errors import InvalidBundle

part = st.text(alphabet="abcdeféABC09_-", min_size=1, max_size=12)
paths = st.lists(part, min_size=1, max_size=4).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=2000), max_size=12)


def packable(tree: dict[str, bytes]) -> bytes | None:
    try:
        return bundle.pack_files(tree)
    except InvalidBundle:
        return None  # clashes of case, or a file that is also a folder


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info


def archive(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=form) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def named(*names: str) -> bytes:
    return archive(*((entry(name, b"x"), b"x") for name in names))


@settings(max_examples=40)
@given(trees)
def test_packed_extracted_and_packed_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    packed = packable(tree)
    if packed is None:
        return
    into = tmp_path_factory.mktemp("b") / "out"
    contents = bundle.extract(bundle.compress(packed), into, expected=bundle.digest(packed))
    assert bundle.pack(into) == packed
    assert sorted(contents.files) == sorted(tree)
    assert {name: (into / name).read_bytes() for name in tree} == tree


def test_order_times_modes_and_caches_do_not_change_the_digest(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ["b.py", "a.py"]), (two, ["a.py", "b.py"])):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
    os.utime(two / "a.py", (1, 1))
    (two / "b.py").chmod(0o700)
    (two / "__pycache__").mkdir()
    (two / "__pycache__" / "a.pyc").write_bytes(b"x")
    (two / ".git").mkdir()
    (two / ".git" / "HEAD").write_text("x")
    (two / ".hidden").write_text("x")
    assert bundle.digest(bundle.pack(one)) == bundle.digest(bundle.pack(two))


def test_the_standard_library_reads_what_we_pack() -> None:
    packed = bundle.pack_files({"é/b.py": b"1", "a.py": b"22"})
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert [(m.name, m.size, m.mode, m.mtime, m.uid) for m in tar] == [
            ("a.py", 2, 0o644, 0, 0),
            ("é/b.py", 1, 0o644, 0, 0),
        ]


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("parent", lambda: named("../evil.py"), "bundle_path"),
    ("parent-inside", lambda: named("a/../../evil.py"), "bundle_path"),
    ("dot", lambda: named("a/./b.py"), "bundle_path"),
    ("absolute", lambda: archive((entry("/etc/x"), b"")), "bundle_path"),
    ("drive", lambda: named("C:evil.py"), "bundle_path"),
    ("backslash", lambda: named("a\\..\\evil.py"), "bundle_path"),
    ("newline", lambda: named("a\nb.py"), "bundle_path"),
    ("direction-mark", lambda: named("a\u202eyp.exe"), "bundle_path"),
    ("deep", lambda: named("/".join("a" * 17)), "bundle_path"),
    ("symlink", lambda: archive((entry("a", kind=tarfile.SYMTYPE, link="/etc/passwd"), b"")), "bundle_link"),
    ("hardlink", lambda: archive((entry("a", kind=tarfile.LNKTYPE, link="b"), b"")), "bundle_link"),
    ("device", lambda: archive((entry("a", kind=tarfile.CHRTYPE), b"")), "bundle_link"),
    ("block-device", lambda: archive((entry("a", kind=tarfile.BLKTYPE), b"")), "bundle_link"),
    ("pipe", lambda: archive((entry("a", kind=tarfile.FIFOTYPE), b"")), "bundle_link"),
    (
        "symlink-then-file",
        lambda: archive((entry("a", kind=tarfile.SYMTYPE, link="/tmp"), b""), (entry("a/b", b"x"), b"x")),
        "bundle_link",
    ),
    ("twice", lambda: named("a.py", "a.py"), "bundle_duplicate"),
    ("file-and-folder", lambda: named("a", "a/b"), "bundle_duplicate"),
    ("folder-and-file", lambda: named("a/b", "a"), "bundle_duplicate"),
    ("case", lambda: named("Story.py", "story.py"), "bundle_duplicate"),
    ("case-of-a-folder", lambda: named("A/x.py", "a/y.py"), "bundle_duplicate"),
    ("case-that-grows", lambda: named("stra\u00dfe.py", "STRASSE.py"), "bundle_duplicate"),
    (
        "accents",
        lambda: named(unicodedata.normalize("NFC", "caf\u00e9.py"), unicodedata.normalize("NFD", "caf\u00e9.py")),
        "bundle_duplicate",
    ),
    ("pth", lambda: named("x.pth"), "bundle_forbidden_name"),
    ("pth-in-capitals", lambda: named("a/X.PTH"), "bundle_forbidden_name"),
    ("sitecustomize", lambda: named("sitecustomize.py"), "bundle_forbidden_name"),
    ("usercustomize-package", lambda: named("usercustomize/__init__.py"), "bundle_forbidden_name"),
    ("pycache", lambda: named("__pycache__/a.cpython-311.pyc"), "bundle_forbidden_name"),
    ("too-many", lambda: named(*(f"{n}.py" for n in range(2001))), "bundle_too_many_files"),
    ("extended-header", lambda: archive((entry("a" * 120), b""), form=tarfile.PAX_FORMAT), "bundle_malformed"),
    ("gnu-long-name", lambda: archive((entry("a" * 120), b""), form=tarfile.GNU_FORMAT), "bundle_malformed"),
    ("sparse", lambda: archive((entry("a", kind=tarfile.GNUTYPE_SPARSE), b"")), "bundle_malformed"),
    ("not-gzip", lambda: b"PK\x03\x04" + bytes(100), "bundle_malformed"),
    ("empty", lambda: b"", "bundle_malformed"),
    ("not-tar", lambda: gzip.compress(b"x" * 2000), "bundle_malformed"),
    ("cut", lambda: named("a.py")[:-12], "bundle_malformed"),
    ("tar-cut", lambda: gzip.compress(gzip.decompress(named("a.py"))[:700]), "bundle_malformed"),
    ("gzip-with-a-tail", lambda: named("a.py") + b"more", "bundle_malformed"),
    ("tar-with-a-tail", lambda: gzip.compress(gzip.decompress(named("a.py")) + b"x" * 512), "bundle_malformed"),
    ("says-10-gib", lambda: gzip.compress(header_of(10 << 30)), "bundle_malformed"),
    ("says-7-gib", lambda: gzip.compress(header_of(7 << 30)), "bundle_too_large"),
    ("size-behind-a-nul", lambda: gzip.compress(hidden_size()), "bundle_malformed"),
    ("bomb", lambda: gzip.compress(bundle.pack_files({"a": bytes(20 << 20)})), "bundle_ratio"),
    ("large", lambda: bytes(bundle.MAX_COMPRESSED + 1), "bundle_too_large"),
]


def header_of(size: int) -> bytes:
    """A header that promises `size` bytes; from 8 GiB on only base 256 can say it."""
    info = entry("a")
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT if size < 8 << 30 else tarfile.GNU_FORMAT) + bytes(4096)


def hidden_size() -> bytes:
    """A file of five bytes for who looks past a NUL, of none for everybody else."""
    packed = bytearray(bundle.pack_files({"a": b"12345"}))
    packed[124:136] = b"\x0000000000005"
    packed[148:156] = b" " * 8
    packed[148:156] = f"{sum(packed[:512]):06o}\0 ".encode()
    return bytes(packed)


@pytest.mark.parametrize(("make", "code"), [pytest.param(make, code, id=name) for name, make, code in REFUSED])
def test_what_breaks_a_rule_is_refused_and_leaves_nothing(tmp_path: Path, make: Callable[[], bytes], code: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "neighbour").write_text("untouched")
    before = snapshot(tmp_path)
    with pytest.raises(InvalidBundle) as refused:
        bundle.extract(make(), home / "out")
    assert refused.value.code == code
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_ino, path.lstat().st_size) for path in folder.rglob("*"))


def tarfile_header(name: str, size: int) -> bytes:
    info = entry(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def test_unpacked_over_the_cap_stops_at_the_cap(tmp_path: Path) -> None:
    """Repeats every 16 KiB: about a fiftieth compressed, so neither ratio nor transport cap stops it."""
    block = os.urandom(1024) + bytes(31 * 1024)
    packed = b"".join(tarfile_header(str(n), len(block) * 64) + block * 64 for n in range(26))
    with pytest.raises(InvalidBundle) as refused:
        bundle.inspect(gzip.compress(packed, 1))
    assert refused.value.code == "bundle_too_large"


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle) as refused:
        bundle.extract(named("a.py"), tmp_path / "out", expected="sha256:" + "0" * 64)
    assert refused.value.code == "bundle_digest_mismatch"
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("/etc/passwd")
    with pytest.raises(InvalidBundle, match=r"a\.py"):
        bundle.pack(tmp_path)


def test_plain_sources_obey_the_same_names(tmp_path: Path) -> None:
    bundle.write_files({"logic.py": "x = 1\n"}, tmp_path / "good")
    assert (tmp_path / "good" / "logic.py").read_text() == "x = 1\n"
    with pytest.raises(InvalidBundle):
        bundle.write_files({"../x.py": ""}, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


@given(st.binary(max_size=600))
def test_noise_is_malformed_not_a_crash(noise: bytes) -> None:
    for candidate in (noise, gzip.compress(noise), gzip.compress(noise + bytes(1024))):
        with suppress(InvalidBundle):
            bundle.inspect(candidate)


@given(st.integers(0, 511), st.integers(0, 255))
def test_a_header_with_one_wrong_byte_is_refused_or_the_same(place: int, value: int) -> None:
    packed = bytearray(bundle.pack_files({"a.py": b"x"}))
    same = packed[place] == value
    packed[place] = value
    try:
        bundle.inspect(gzip.compress(bytes(packed)))
    except InvalidBundle:
        assert not same
    else:
        assert same or 148 <= place < 156  # the checksum's own padding may be written in two ways
