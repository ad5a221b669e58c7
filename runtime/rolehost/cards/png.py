"""PNG: where a card lies in one, and how another is put there. Pictures are never decoded.

A card is base64 of UTF-8 JSON in a `tEXt` chunk named `ccv3` or, for V2, `chara`.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rolehost_api.errors import BadRequest

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 10_000
V3, V2 = b"ccv3", b"chara"


class Chunk(NamedTuple):
    kind: bytes
    data: bytes


def chunks(file: bytes) -> Iterator[Chunk]:
    """All of `file`, up to and with IEND. Raises BadRequest `invalid_card`."""
    if not file.startswith(SIGNATURE):
        raise _broken("does not begin as one")
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(file):
            raise _broken("ends too early")
        (length,) = struct.unpack_from(">I", file, at)
        kind, end = file[at + 4 : at + 8], at + 12 + length
        if end > len(file):
            raise _broken("has a chunk that is longer than the file")
        data = file[at + 8 : end - 4]
        if zlib.crc32(kind + data) != struct.unpack_from(">I", file, end - 4)[0]:
            raise _broken("has a chunk whose checksum is wrong")
        yield Chunk(kind, data)
        if kind == b"IEND":
            return
        at = end
    raise _broken(f"has over {MAX_CHUNKS} chunks")


def texts(file: bytes) -> dict[bytes, bytes]:
    """The cards in `file`, decoded from base64, by `V3` and `V2`. The last of a name counts. Raises BadRequest `invalid_card`."""
    found: dict[bytes, bytes] = {}
    for kind, data in chunks(file):
        name, _, text = data.partition(b"\0")
        if kind == b"tEXt" and name in (V3, V2):
            try:
                found[name] = base64.b64decode(text, validate=True)
            except binascii.Error:
                raise _broken(f"has a {name.decode()} chunk that is not base64") from None
    return found


def with_texts(file: bytes, cards: Mapping[bytes, bytes]) -> bytes:
    """`file` with these cards in place of those that it has; everything else stays, byte for byte."""
    out = [SIGNATURE]
    for kind, data in chunks(file):
        if kind == b"tEXt" and data.partition(b"\0")[0] in (V3, V2):
            continue
        if kind == b"IEND":
            out += (_chunk(b"tEXt", name + b"\0" + base64.b64encode(card)) for name, card in cards.items())
        out.append(_chunk(kind, data))
    return b"".join(out)


def blank() -> bytes:
    """A picture of one grey dot, for a card that has none."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0\x80")) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _broken(what: str) -> BadRequest:
    return BadRequest(f"the PNG {what}", hint="Save the card again from where you have it", code="invalid_card")
