"""How a gateway says for whom it asks: `tenant UID | expiry | method | path` under the platform's key.

The upload service believes this header and nothing else; it lives for a minute and fits
one method and path only.
"""

import base64
import binascii
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from rolehost_api.errors import BadRequest, Unauthorized
from rolehost_runtime.gateway.ports import Signer

log = logging.getLogger(__name__)

HEADER = "x-rolehost-for"
BUNDLES = "/internal/v1/bundles"
CHECK = "/internal/v1/roles:check"
LIFE_SECONDS = 60
_UID = re.compile(r"[0-9A-Za-z-]{1,64}")


def signed(key: Signer, tenant_uid: str, method: str, path: str, now: int) -> str:
    """The header's value, good for a minute from `now` (seconds since 1970)."""
    expiry = now + LIFE_SECONDS
    signature = key.sign(_text(tenant_uid, expiry, method, path))
    return f"{tenant_uid}.{expiry}.{base64.urlsafe_b64encode(signature).decode()}"


def verified(keys: Iterable[Ed25519PublicKey], header: str, method: str, path: str, now: int) -> str:
    """The tenant UID that a gateway asks for. Raises Unauthorized."""
    try:
        tenant_uid, expiry, encoded = header.split(".")
        text = _text(tenant_uid, int(expiry), method, path)
        signature = base64.urlsafe_b64decode(encoded)
    except (ValueError, binascii.Error):
        raise Unauthorized("only gateways may ask") from None
    fresh = now <= int(expiry) <= now + 2 * LIFE_SECONDS
    if not (fresh and _UID.fullmatch(tenant_uid) and any(_signs(key, signature, text) for key in keys)):
        raise Unauthorized("only gateways may ask")
    return tenant_uid


def _text(tenant_uid: str, expiry: int, method: str, path: str) -> bytes:
    """A fixed word first, so that the key signs nothing else by mistake (compare link.messages.proof_text)."""
    return f"rolehost upload 1\n{tenant_uid}|{expiry}|{method}|{path}".encode()


def _signs(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def private_key(path: Path) -> Ed25519PrivateKey:
    """The platform's private key. Raises BadRequest `bad_link_key`."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise BadRequest(
        f"{path} holds no Ed25519 private key", hint="The chart makes one as Secret rolehost-link", code="bad_link_key"
    )


class LinkKey:
    """Implements ports.Signer by a key in a file, read again when it was replaced: a mounted Secret may be.

    A replacement that is no key is told once and not used; the key before it goes on.
    """

    def __init__(self, path: Path) -> None:
        """Raises BadRequest `bad_link_key`."""
        self._path = path
        self._stamp = _stamp(path)
        self._key = private_key(path)

    def sign(self, data: bytes, /) -> bytes:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._key = private_key(self._path)
            except BadRequest as error:
                log.warning("the link key was replaced by something else: %s", error)
            else:
                log.info("the link key was replaced; links are proved with the new one from now on")
        return self._key.sign(data)


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the file is replaced or written."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class MountedKeys:
    """The public keys of a mounted folder, as they are whenever somebody looks through them.

    Where it holds none any more, those it held last.
    """

    def __init__(self, folder: Path) -> None:
        """Raises BadRequest `no_platform_keys`."""
        self._folder = folder
        self._last = public_keys(folder)

    def __iter__(self) -> Iterator[Ed25519PublicKey]:
        try:
            self._last = public_keys(self._folder)
        except (BadRequest, OSError) as error:
            log.warning("the platform's keys cannot be read again: %s", type(error).__name__)
        return iter(self._last)

    def verify(self, signature: bytes, data: bytes, /) -> None:
        """Raises InvalidSignature unless one of them made it."""
        for key in self:
            with suppress(InvalidSignature):
                return key.verify(signature, data)
        raise InvalidSignature


def public_keys(folder: Path) -> list[Ed25519PublicKey]:
    """Every key in the folder, out of certificates or bare. Raises BadRequest `no_platform_keys` where there is none."""
    found = [key for path in sorted(folder.glob("*")) if path.is_file() for key in _keys(path.read_bytes())]
    if not found:
        raise BadRequest(
            f"{folder} holds no Ed25519 public key",
            hint="Mount ConfigMap rolehost-link-public",
            code="no_platform_keys",
        )
    return found


def _keys(pem: bytes) -> list[Ed25519PublicKey]:
    try:
        if b"BEGIN CERTIFICATE" in pem:
            keys = [certificate.public_key() for certificate in x509.load_pem_x509_certificates(pem)]
        else:
            keys = [load_pem_public_key(pem)]  # type: ignore[list-item]
    except ValueError:
        return []
    return [key for key in keys if isinstance(key, Ed25519PublicKey)]
