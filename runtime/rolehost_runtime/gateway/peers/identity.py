"""How two gateways know each other: by the platform's key pair, which pods know them by too.

Who is dialled shows the platform's certificate in TLS, whose private half it must hold; who
dialled signs a nonce over that connection. During a rotation the folder of certificates
holds the next one too, so both are taken. Certificates are compared by their keys alone:
two of one platform carry the same name.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rolehost_api.errors import BadRequest


class PlatformIdentity:
    """One gateway's half of it. Files are read at each use, so that a rotation needs no restart."""

    def __init__(self, key: Path, certificates: Path) -> None:
        self._key, self._certificates = key, certificates

    def server_context(self) -> ssl.SSLContext:
        """For who is dialled. Raises BadRequest `invalid_settings`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._own(), self._key)
        return context

    @staticmethod
    def client_context() -> ssl.SSLContext:
        """For who dials: it takes any certificate, and `knows` must be asked about it before a word is said."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def knows(self, certificate: bytes | None) -> bool:
        """Whether this certificate (DER), which its owner proved in TLS, is the platform's."""
        if certificate is None:
            return False
        return _public(x509.load_der_x509_certificate(certificate)) in self._keys()

    def sign(self, text: bytes) -> bytes:
        return self._private().sign(text)

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Whether one of the platform's keys made this signature."""
        return any(_verifies(key, text, signature) for key in self._keys())

    def _private(self) -> Ed25519PrivateKey:
        key = load_pem_private_key(self._key.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise BadRequest(f"{self._key} holds no Ed25519 key", code="invalid_settings")
        return key

    def _own(self) -> Path:
        """The certificate of our own key."""
        public = self._private().public_key().public_bytes_raw()
        for file, key in self._each():
            if key == public:
                return file
        raise BadRequest(
            f"no certificate in {self._certificates} belongs to the key {self._key}",
            hint="link.existingSecret and link.existingConfigMap of the chart must hold two halves of one pair",
            code="invalid_settings",
        )

    def _keys(self) -> set[bytes]:
        return {key for _, key in self._each() if key}

    def _each(self) -> list[tuple[Path, bytes]]:
        files = [file for file in sorted(self._certificates.glob("*.pem")) if b"BEGIN CERT" in file.read_bytes()]
        return [(file, _public(x509.load_pem_x509_certificate(file.read_bytes()))) for file in files]


def _public(certificate: x509.Certificate) -> bytes:
    """The raw Ed25519 key; nothing where it is of another kind."""
    key = certificate.public_key()
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""


def _verifies(key: bytes, text: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except InvalidSignature:
        return False
    return True


Prove = Callable[[bytes], bytes]
"""Signs a text as the platform."""
Check = Callable[[bytes, bytes], bool]
"""Whether the platform signed this text so."""
