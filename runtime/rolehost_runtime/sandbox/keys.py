"""The platform's public keys as a pod knows them: a gateway that signs with one of them is the platform."""

import base64
import binascii
from pathlib import Path

from rolehost_api.errors import BadRequest
from rolehost_api.names import PLATFORM_KEYS_ENTRY

KEY_BYTES = 32
MAX_KEYS = 8
MAX_FILE_BYTES = 4096


def parsed(words: str, named: str) -> tuple[bytes, ...]:
    """Raw Ed25519 public keys out of base64, separated by commas or blanks. Raises BadRequest, which says `named`.

    >>> parsed("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,", "x") == (bytes(32),)
    True
    """
    found = tuple(_key(word, named) for word in words.replace(",", " ").split())
    if not 0 < len(found) <= MAX_KEYS:
        raise BadRequest(f"{named} must hold 1 to {MAX_KEYS} keys: the current one, and the next")
    return found


def mounted(folder: Path) -> tuple[bytes, ...]:
    """What the folder holds now; the kubelet keeps it up to date. Raises BadRequest, OSError."""
    file = folder / PLATFORM_KEYS_ENTRY
    with file.open("rb") as opened:
        return parsed(opened.read(MAX_FILE_BYTES).decode("ascii", "replace"), str(file))


def _key(word: str, named: str) -> bytes:
    try:
        key = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise BadRequest(f"{named} holds something that is no Ed25519 public key in base64")
    return key
