"""A self-signed Ed25519 certificate and its key, written down by hand: always the same few bytes around the key.

The library that builds certificates takes longer to import, above all under gVisor, than
all the rest of the init container that makes this one. Nobody reads its names or dates:
it is known by its fingerprint. So it says the same of every pod, and never expires.
"""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEQUENCE, _SET, _OID, _UTF8, _BITS, _VERSION = b"\x30", b"\x31", b"\x06", b"\x0c", b"\x03", b"\xa0"
_ED25519 = bytes.fromhex("300506032b6570")
"""AlgorithmIdentifier (RFC 8410)."""
_PRIVATE_KEY = bytes.fromhex("302e020100300506032b657004220420")
"""Of PKCS 8, before the 32 bytes of the key."""
_COMMON_NAME = bytes.fromhex("550403")
_DATES = b"\x17\x0d000101000000Z" + b"\x18\x0f99991231235959Z"
"""From 2000 on, and without a known end (RFC 5280, 4.1.2.5)."""


def self_signed(key: Ed25519PrivateKey) -> bytes:
    """The certificate of `key`, DER."""
    name = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _der(_OID, _COMMON_NAME) + _der(_UTF8, b"rolehost-sandbox"))))
    public = _der(_SEQUENCE, _ED25519 + _bits(key.public_key().public_bytes_raw()))
    version_3, serial = _der(_VERSION, b"\x02\x01\x02"), b"\x02\x01\x01"
    signed = _der(_SEQUENCE, version_3 + serial + _ED25519 + name + _der(_SEQUENCE, _DATES) + name + public)
    return _der(_SEQUENCE, signed + _ED25519 + _bits(key.sign(signed)))


def private_key(key: Ed25519PrivateKey) -> bytes:
    """PKCS 8, DER."""
    return _PRIVATE_KEY + key.private_bytes_raw()


def pem(kind: str, der: bytes) -> bytes:
    """
    >>> pem("CERTIFICATE", b"x")
    b'-----BEGIN CERTIFICATE-----\\neA==\\n-----END CERTIFICATE-----\\n'
    """
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(der).decode()}-----END {kind}-----\n".encode()


def _bits(whole: bytes) -> bytes:
    return _der(_BITS, b"\x00" + whole)


def _der(tag: bytes, content: bytes) -> bytes:
    """Tag, length, content; a content of at most 65,535 bytes.

    >>> _der(b"\\x30", bytes(3)).hex(), _der(b"\\x30", bytes(200))[:3].hex(), _der(b"\\x30", bytes(300))[:4].hex()
    ('3003000000', '3081c8', '3082012c')
    """
    size = len(content)
    short = size < 0x80
    width = (size.bit_length() + 7) // 8
    return tag + (bytes([size]) if short else bytes([0x80 | width]) + size.to_bytes(width, "big")) + content
