"""Who this pod is on its links: the certificate that the init container made, and what vouches for it."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from rolehost_api.errors import BadRequest
from rolehost_api.link.attestation import ATTESTATION_BYTES, NO_CERTIFICATE, fingerprint
from rolehost_runtime.sandbox.attest import ATTESTATION, CERTIFICATE, KEY
from rolehost_runtime.sandbox.settings import Settings


@dataclass(frozen=True, slots=True)
class Identity:
    fingerprint: bytes
    attestation: bytes
    tls: ssl.SSLContext | None
    """The agent's end of every connection; None over stdin and stdout."""


NOBODY = Identity(NO_CERTIFICATE, b"", None)
"""Local mode: who started this process holds its pipes, and there is nothing to attest."""


def of(settings: Settings) -> Identity:
    """Of an agent that listens. Raises BadRequest."""
    if settings.identity is None:
        raise BadRequest(
            "ROLEHOST_IDENTITY_DIR is not set", hint="Who listens has an identity; without one there is --stdio"
        )
    return read(settings.identity)


def read(folder: Path) -> Identity:
    """Raises BadRequest `no_identity`."""
    try:
        certificate = ssl.PEM_cert_to_DER_cert((folder / CERTIFICATE).read_text())
        attestation = (folder / ATTESTATION).read_bytes()
        if len(attestation) != ATTESTATION_BYTES:
            raise ValueError("an attestation of another length")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.num_tickets = 0  # a gateway that comes again proves itself again
        tls.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    except (OSError, ValueError) as error:
        raise BadRequest(
            f"{folder} holds no identity of this pod ({type(error).__name__})",
            hint="The init container makes it: python -m rolehost_runtime.sandbox.attest",
            code="no_identity",
        ) from None
    return Identity(fingerprint(certificate), attestation, tls)
