"""`python -m rolehost_runtime.sandbox.attest`: what a sandbox pod's init container does, and no more.

The only process that ever sees its namespace's key. It makes a key pair and a certificate
for this pod, and what vouches for them, and leaves all three where the agent finds them:

    ROLEHOST_POD_UID             of this pod
    ROLEHOST_NAMESPACE_KEY_FILE  the key, from the Secret that is mounted here and nowhere else
    ROLEHOST_IDENTITY_DIR        where key.pem, cert.pem and attestation go; a tmpfs

Imports little: every pod's start waits for it.
"""

import os
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rolehost_api.link.attestation import ROOT_BYTES, attestation, fingerprint
from rolehost_runtime.sandbox.certificate import pem, private_key, self_signed

NAMES = ("POD_UID", "NAMESPACE_KEY_FILE", "IDENTITY_DIR")
KEY, CERTIFICATE, ATTESTATION = "key.pem", "cert.pem", "attestation"


def identity(namespace_key: bytes, pod_uid: str, key: Ed25519PrivateKey) -> dict[str, bytes]:
    """The files of a pod's identity, by name."""
    certificate = self_signed(key)
    return {
        KEY: pem("PRIVATE KEY", private_key(key)),
        CERTIFICATE: pem("CERTIFICATE", certificate),
        ATTESTATION: attestation(namespace_key, pod_uid, fingerprint(certificate)),
    }


def main() -> int:
    try:
        uid, source, folder = (os.environ[f"ROLEHOST_{name}"] for name in NAMES)
        with open(source, "rb") as file:
            namespace_key = file.read()
        if len(namespace_key) < ROOT_BYTES:
            raise ValueError(f"{source} holds no key of {ROOT_BYTES} bytes")
        for name, content in identity(namespace_key, uid, Ed25519PrivateKey.generate()).items():
            _write(os.path.join(folder, name), content)
    except (OSError, KeyError, ValueError) as error:
        print(f"this pod cannot be attested: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def _write(path: str, content: bytes) -> None:
    """For our own user alone, and whole or not at all: an init container may run twice."""
    made = f"{path}.new"
    if os.path.exists(made):
        os.unlink(made)
    with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
        file.write(content)
    os.replace(made, path)


if __name__ == "__main__":
    sys.exit(main())
