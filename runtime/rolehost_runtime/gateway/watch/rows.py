"""One table's rows as bytes, signed: typed, in pieces, compressed where it is large, bounded.

    signature (64 bytes) ‖ 0 or 1 (compressed) ‖ msgpack list of pieces, each a list of (key, row)

The signature is the platform's own, over kind and place too: who can write to the store
cannot make a key valid by it, or put one tenant's rows in another's place.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import BadRequest
from rolehost_runtime.gateway.ports import Place
from rolehost_runtime.gateway.tables import GatewayEntry, KeyEntry, PodEntry, RevisionEntry, RoleEntry, Tenant

Row = tuple[tuple[str, ...], Any]
PIECE = 128
"""Rows that are worked on before others have their turn on the loop."""
COMPRESS_FROM = 16_384
MOST_BYTES = 16 << 20
"""Of one kind as it is kept."""
MOST_PLAIN_BYTES = 64 << 20
SIGNATURE_BYTES = 64

_encode = msgspec.msgpack.Encoder().encode
_pieces = msgspec.msgpack.Decoder(list[bytes])
_rows: dict[str, msgspec.msgpack.Decoder[list[Row]]] = {
    kind: msgspec.msgpack.Decoder(list[tuple[tuple[str, ...], row]])  # type: ignore[valid-type]
    for kind, row in (
        ("tenants", Tenant),
        ("images", str),
        ("roles", RoleEntry),
        ("revisions", RevisionEntry),
        ("pods", PodEntry),
        ("backends", BackendSpec),
        ("gateways", GatewayEntry),
        ("keys", KeyEntry),
    )
}


class Signer(Protocol):
    def sign(self, data: bytes, /) -> bytes: ...


class Verifier(Protocol):
    def verify(self, signature: bytes, data: bytes, /) -> None:
        """Raises InvalidSignature."""


class TooLarge(BadRequest):
    """More rows than are kept."""

    code = "rows_too_large"


class Unreadable(BadRequest):
    """What was kept is not what a gateway of this version and platform keeps."""

    code = "rows_unreadable"


def pieces(rows: Sequence[Row]) -> Iterator[bytes]:
    """A caller on the loop gives way between them."""
    for start in range(0, len(rows), PIECE):
        yield _encode(rows[start : start + PIECE])


def sealed(kind: str, place: Place, parts: Sequence[bytes], signer: Signer) -> bytes:
    """For a thread of its own: it compresses. Raises TooLarge."""
    plain = _encode(parts)
    if len(plain) > MOST_PLAIN_BYTES:
        raise TooLarge(f"{len(plain)} bytes of {kind}")
    body = b"\1" + zlib.compress(plain, 1) if len(plain) > COMPRESS_FROM else b"\0" + plain
    if len(body) > MOST_BYTES:
        raise TooLarge(f"{len(body)} bytes of {kind}, compressed")
    return signer.sign(_text(kind, place, body)) + body


def opened(kind: str, place: Place, sealed_body: bytes, verifier: Verifier) -> list[bytes]:
    """The pieces, for a thread of its own. Raises Unreadable; the verifier's InvalidSignature too."""
    signature, body = sealed_body[:SIGNATURE_BYTES], sealed_body[SIGNATURE_BYTES:]
    if len(body) > MOST_BYTES:
        raise Unreadable(f"{kind} has too many bytes")
    verifier.verify(signature, _text(kind, place, body))
    try:
        plain = body[1:]
        if body[:1] == b"\1":
            opener = zlib.decompressobj()
            plain = opener.decompress(plain, MOST_PLAIN_BYTES)
            if opener.unconsumed_tail:
                raise Unreadable(f"{kind} has too many bytes")
        return _pieces.decode(plain)
    except (msgspec.MsgspecError, zlib.error):
        raise Unreadable(f"{kind} cannot be read") from None


def rows_of(kind: str, piece: bytes) -> list[Row]:
    """Raises Unreadable."""
    try:
        return _rows[kind].decode(piece)
    except msgspec.MsgspecError:
        raise Unreadable(f"{kind} cannot be read") from None


def _text(kind: str, place: Place, body: bytes) -> bytes:
    """A fixed word first, so that the key signs nothing else by mistake (compare link.messages.proof_text)."""
    head = f"rolehost tables 1\n{kind}|{place.own}|{place.tenants}|{place.as_of_ms}|"
    return head.encode() + hashlib.sha256(body).digest()
