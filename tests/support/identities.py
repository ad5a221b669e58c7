"""What a pod's init container and its mounted ConfigMap leave on a disk, and the gateway's dialer that fits them."""

import base64
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rolehost_api.link.attestation import namespace_key
from rolehost_api.names import PLATFORM_KEYS_ENTRY
from rolehost_runtime.sandbox.attest import identity

ROOT = b"r" * 32
"""The platform's attestation secret."""


def make_identity(folder: Path, namespace_uid: str, pod_uid: str, root: bytes = ROOT) -> Path:
    """As `python -m rolehost_runtime.sandbox.attest` in that pod."""
    folder.mkdir(parents=True, exist_ok=True)
    made = identity(namespace_key(root, namespace_uid), pod_uid, Ed25519PrivateKey.generate())
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return folder


def mount_keys(folder: Path, keys: Iterable[Ed25519PublicKey]) -> Path:
    """As the kubelet mounts ConfigMap rolehost-platform-keys: a new file takes the old one's place at once."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [base64.b64encode(key.public_bytes_raw()).decode() for key in keys]
    (folder / "new").write_text("\n".join(lines))
    (folder / "new").replace(folder / PLATFORM_KEYS_ENTRY)
    return folder
