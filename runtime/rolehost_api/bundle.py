"""Bundles of role logic: packed to the same bytes everywhere, unpacked by rules of our own.

A bundle is a USTAR archive in canonical form: regular files only, sorted by the bytes of
their paths, mode 0644, ids and times 0. Its digest is over those bytes; gzip is transport.
The reader below takes nothing else: no links, devices, sparse files or extended headers,
no name that another file system or the interpreter would take for something else. It
works in a stream, so a bomb costs neither memory nor disk beyond the caps, and whatever
is wrong, the target is left untouched.
"""

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rolehost_api.errors import InvalidBundle

MAX_COMPRESSED = 10 * 1_048_576
MAX_UNPACKED = 50 * 1_048_576
MAX_FILES = 2_000
MAX_PATH = 255
MAX_PART = 100
MAX_DEPTH = 16
MAX_RATIO = 100
RATIO_FROM = 4 * 1_048_576
"""Below this size the ratio says nothing: 2,000 tiny files are 2 MiB of padding."""

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_CHUNK = 65_536
_FORBIDDEN = {"__pycache__", "sitecustomize", "usercustomize"}
_DRIVE = re.compile(r"[A-Za-z]:")
_LINKS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
_UNUSED_NUMBERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
"""Mode, owner, group, time, device: not looked at, but where they are no numbers other readers stop."""

T = TypeVar("T")
Sink = Callable[[str, Iterator[bytes]], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a valid archive holds."""

    digest: str
    files: tuple[str, ...]
    unpacked_bytes: int


def pack(folder: Path, *, skip: Collection[str] = ()) -> bytes:
    """The canonical archive of a folder, the same for the same contents on any machine.

    Hidden files, `__pycache__` and `*.pyc` stay out, and so do the paths in `skip`: the
    manifest that will name the digest. Raises InvalidBundle for what could not be
    extracted again.
    """
    files: dict[str, bytes] = {}
    left = MAX_UNPACKED
    for name, path in _tree(folder):
        if name in skip:
            continue
        left -= path.stat().st_size
        if left < 0 or len(files) >= MAX_FILES:
            raise _broken(name, "bundle_too_large", "with it the bundle is over its caps; hide what is not logic")
        files[name] = path.read_bytes()
    return pack_files(files)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """The canonical archive of these files, by path relative to the bundle's root."""
    names = _Names()
    packed = bytearray()
    for name in sorted(files, key=_bytes):
        names.take(name)
        info = tarfile.TarInfo(name)
        info.size = len(files[name])
        try:
            packed += info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        except ValueError:
            raise _broken(name, "bundle_path", "its path cannot be split for a tar header") from None
        packed += files[name] + bytes(-info.size % _BLOCK)
        if len(packed) > MAX_UNPACKED:
            raise InvalidBundle(f"the bundle is over {MAX_UNPACKED} bytes unpacked", code="bundle_too_large")
    return bytes(packed) + 2 * _ZEROS


def _tree(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in folders + files:
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            if name.startswith(".") or name.endswith(".pyc"):
                continue
            if path.is_symlink():
                raise _broken(relative, "bundle_link", "it is a symbolic link")
            if path.is_file():
                yield relative, path
            elif not path.is_dir():
                raise _broken(relative, "bundle_link", "it is not a regular file")


def digest(archive: bytes) -> str:
    """The digest of an uncompressed archive.

    >>> digest(pack_files({}))[:14]
    'sha256:5f70bf1'
    """
    return "sha256:" + hashlib.sha256(archive).hexdigest()


def compress(archive: bytes) -> bytes:
    """For transport; raises InvalidBundle where even that is over the cap."""
    packed = gzip.compress(archive, compresslevel=6, mtime=0)
    if len(packed) > MAX_COMPRESSED:
        raise InvalidBundle(f"the bundle is over {MAX_COMPRESSED} bytes compressed", code="bundle_too_large")
    return packed


def decompress(archive: bytes) -> bytes:
    """The uncompressed archive, within the caps; says nothing about what is in it."""
    return b"".join(_inflate(archive))


def inspect(archive: bytes) -> Contents:
    """Check a transported archive against every rule, without writing anything. Raises InvalidBundle."""
    return _read(archive, _discard)


def extract(archive: bytes, into: Path, *, expected: str = "") -> Contents:
    """Unpack a transported archive as the new folder `into`.

    Written beside it first and renamed when all of it was good and its digest is
    `expected` (where given). Raises InvalidBundle; `into` then does not exist.
    """

    def fill(staging: Path) -> Contents:
        contents = _read(archive, lambda name, data: _write(staging, name, data))
        if expected and contents.digest != expected:
            raise InvalidBundle(
                f"the bundle has digest {contents.digest}, but the revision pins {expected}",
                hint="Push the bundle again",
                code="bundle_digest_mismatch",
            )
        return contents

    return _staged(into, fill)


def write_files(files: Mapping[str, str], into: Path) -> None:
    """Logic that came as plain sources, by the same rules of naming, as the new folder `into`."""

    def fill(staging: Path) -> None:
        names = _Names()
        for name, source in files.items():
            names.take(name)
            _write(staging, name, iter([source.encode()]))

    _staged(into, fill)


# ── reading ─────────────────────────────────────────────────────────────────────────


def _read(archive: bytes, sink: Sink) -> Contents:
    stream = _Stream(_inflate(archive))
    names = _Names()
    while (header := stream.take(_BLOCK)) != _ZEROS:
        name, size, folder = _header(header)
        names.take(name, folder=folder)
        if folder:
            continue
        if size > MAX_UNPACKED:
            raise _broken(name, "bundle_too_large", f"it says to be over {MAX_UNPACKED} bytes")
        sink(name, stream.pieces(size))
        if stream.take(-size % _BLOCK).strip(b"\0"):
            raise _broken(name, "bundle_malformed", "its padding is not empty")
    stream.expect_zeros()
    return Contents("sha256:" + stream.sha256.hexdigest(), tuple(names.files), stream.count)


def _header(block: bytes) -> tuple[str, int, bool]:
    """Name, size and whether it is a folder. Only what USTAR itself can say is understood."""
    try:
        said = _octal(block[148:156])
        name = "/".join(part.rstrip(b"\0").decode() for part in (block[345:500], block[:100]) if part[0])
        size = _octal(block[124:136])
        for low, high in _UNUSED_NUMBERS:
            _octal(block[low:high])
    except ValueError:
        raise InvalidBundle("the archive has a header that cannot be read", code="bundle_malformed") from None
    if said != sum(block[:148]) + sum(block[156:]) + 8 * 32 or size < 0:
        raise InvalidBundle("the archive has a header with a wrong checksum or size", code="bundle_malformed")
    kind = block[156:157]
    if kind in _LINKS:
        raise _broken(name, "bundle_link", f"it is {_LINKS[kind]}")
    if kind not in (b"0", b"\0", b"5") or block[257:262] != b"ustar":
        raise InvalidBundle(
            "the archive is not plain USTAR", hint="Make bundles with `rolehost push`", code="bundle_malformed"
        )
    if kind == b"5" and size:
        raise _broken(name, "bundle_malformed", "it is a folder with content")
    return name, size, kind == b"5"


def _octal(field: bytes) -> int:
    """A number as every reader of tar takes it: up to the first NUL. Raises ValueError.

    >>> _octal(b"0000017\\0"), _octal(b" 17 \\0"), _octal(b"\\0000017")
    (15, 15, 0)
    """
    digits = field.partition(b"\0")[0].strip(b" ") or b"0"
    if not digits.isdigit():
        raise ValueError("not a number")
    return int(digits, 8)


class _Names:
    """The rules of naming, and what was named so far."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self._count = 0
        self._seen: set[str] = set()
        self._kinds: dict[str, bool] = {}
        self._spelling: dict[str, str] = {}

    def take(self, name: str, *, folder: bool = False) -> None:
        """Accept the next entry. Raises InvalidBundle with the rule that it breaks."""
        self._count += 1
        if self._count > MAX_FILES:
            raise InvalidBundle(f"the bundle has over {MAX_FILES} files", code="bundle_too_many_files")
        parts = _parts(name.removesuffix("/") if folder else name)
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            is_folder = folder or depth < len(parts)
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
            if self._spelling.setdefault(folded, path) != path:
                raise _broken(name, "bundle_duplicate", "another entry has the same name but for case or accents")
            known = self._kinds.setdefault(path, is_folder)
            if known is not is_folder or (not is_folder and path in self._seen):
                raise _broken(name, "bundle_duplicate", "another entry has the same name")
        if not folder:
            self._seen.add(name)
            self.files.append(name)


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if not name or len(_bytes(name)) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise _broken(name[:64], "bundle_path", f"its path is empty, over {MAX_PATH} bytes or over {MAX_DEPTH} deep")
    if "\\" in name or _DRIVE.match(name) or not name.isprintable():
        raise _broken(name, "bundle_path", "its path has a drive, a backslash or an unprintable character")
    for part in parts:
        if part in ("", ".", "..") or len(_bytes(part)) > MAX_PART:
            raise _broken(
                name, "bundle_path", f"its path is not plain and relative, or a part is over {MAX_PART} bytes"
            )
        plain = unicodedata.normalize("NFKC", part).casefold()
        if plain.endswith(".pth") or plain.partition(".")[0] in _FORBIDDEN:
            raise _broken(name, "bundle_forbidden_name", "the interpreter would run it by itself")
    return parts


class _Stream:
    """Exact reads out of uneven pieces, hashed and counted on the way."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.sha256 = hashlib.sha256()
        self.count = 0

    def take(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                self.sha256.update(self._rest)
                self.count += len(self._rest)
                if not self._rest:
                    raise InvalidBundle("the archive ends too early", code="bundle_malformed")
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def expect_zeros(self) -> None:
        """The end of the archive: at least one more block of zeros and nothing else."""
        tail = self.take(_BLOCK)
        while tail:
            if tail.strip(b"\0"):
                raise InvalidBundle("the archive goes on after its end", code="bundle_malformed")
            tail, self._rest = self._rest, b""
            if not tail:
                tail = next(self._pieces, b"")
                self.sha256.update(tail)
                self.count += len(tail)


def _inflate(archive: bytes) -> Iterator[bytes]:
    """Uncompressed pieces of at most 64 KiB; stops at the caps before they are produced."""
    if len(archive) > MAX_COMPRESSED:
        raise InvalidBundle(f"the bundle is over {MAX_COMPRESSED} bytes compressed", code="bundle_too_large")
    inflater = zlib.decompressobj(wbits=31)
    pending, total = archive, 0
    while not inflater.eof:
        try:
            piece = inflater.decompress(pending, _CHUNK)
        except zlib.error:
            raise InvalidBundle("the archive is not gzip, or broken", code="bundle_malformed") from None
        pending = inflater.unconsumed_tail
        if not piece and not pending and not inflater.eof:
            raise InvalidBundle("the archive ends too early", code="bundle_malformed")
        total += len(piece)
        if total > MAX_UNPACKED:
            raise InvalidBundle(f"the bundle is over {MAX_UNPACKED} bytes unpacked", code="bundle_too_large")
        if total > RATIO_FROM and total > MAX_RATIO * len(archive):
            raise InvalidBundle(f"the bundle unpacks to over {MAX_RATIO} times its size", code="bundle_ratio")
        if piece:
            yield piece
    if inflater.unused_data:
        raise InvalidBundle("the archive goes on after its end", code="bundle_malformed")


# ── writing ─────────────────────────────────────────────────────────────────────────


def _staged(into: Path, fill: Callable[[Path], T]) -> T:
    into.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    try:
        result = fill(staging)
        staging.chmod(0o755)
        staging.rename(into)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return result


def _write(staging: Path, name: str, data: Iterator[bytes]) -> None:
    path = staging / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
        for piece in data:
            file.write(piece)


def _discard(name: str, data: Iterator[bytes]) -> None:
    for _ in data:
        pass


def _bytes(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise _broken(ascii(name), "bundle_path", "its name is not UTF-8") from None


def _broken(name: str, code: str, why: str) -> InvalidBundle:
    return InvalidBundle(f"entry {name!r}: {why}", code=code)
