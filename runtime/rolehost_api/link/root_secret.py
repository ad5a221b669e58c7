"""The platform's root secret as gateways and the operator read it; what it is for, `attestation` says.

A module of its own: the init container imports `attestation`, never has this secret, and its start is waited for.
"""

from pathlib import Path

from rolehost_api.errors import BadRequest
from rolehost_api.link.attestation import ROOT_BYTES


def attestation_root(file: Path) -> bytes:
    """Raises BadRequest `bad_attestation_root`."""
    try:
        root = file.read_bytes()
    except OSError:
        root = b""
    if len(root) < ROOT_BYTES:
        raise BadRequest(
            f"{file} holds no secret of {ROOT_BYTES} bytes or more",
            hint="The chart makes one as Secret rolehost-attestation",
            code="bad_attestation_root",
        )
    return root
