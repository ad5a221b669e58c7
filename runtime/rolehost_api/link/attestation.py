"""How a gateway knows that the other end of a link is the pod that it means to reach.

A root secret, held by gateways and the operator, makes one key for every tenant namespace.
Each pod's init container has the namespace's key for the moment that it runs: it makes a
certificate for this pod alone and attests it with that key. Who listens at a pod's old
address can show neither the attestation of that pod nor, of a pod elsewhere, the private
key behind its certificate. Role logic never sees the namespace's key; and a tenant that
reads the Secret can pass off as pods of its own namespace only.

Only the standard library: an init container imports this, and its start is waited for.
"""

import hashlib
import hmac

ROOT_BYTES = 32
"""The least that a root secret has."""
ATTESTATION_BYTES = 32
NOT_ATTESTED = "pod_not_attested"
"""The stable code of a listener that is not the pod it should be: in logs, and in what gateways report."""
NO_CERTIFICATE = bytes(32)
"""In place of a fingerprint where a link is no connection: local mode talks to its own child by a pipe."""
_NAMESPACE = b"rolehost namespace key 1\n"


def namespace_key(root: bytes, namespace_uid: str) -> bytes:
    """The key of one tenant namespace, 32 bytes; a recycled name has another UID, and so another key.

    >>> namespace_key(bytes(32), "5ca2b0a5-6c8e-4d1f-9b8e-0d2f3c4b5a69").hex()
    'a29118bd7a05f24f84e2b1ae178d72cdf017646154c5c188c24aee8433980288'
    >>> namespace_key(bytes(32), "u1") == namespace_key(bytes(32), "u2")
    False
    """
    return hmac.digest(root, _NAMESPACE + namespace_uid.encode(), "sha256")


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of a certificate's DER.

    >>> fingerprint(b"a certificate").hex()
    '81acd762140fa692a142822d2fbe4dc6f54bcaa501f68ab37e5aeed0bafe4d99'
    """
    return hashlib.sha256(certificate).digest()


def attestation(key: bytes, pod_uid: str, of: bytes) -> bytes:
    """What vouches that the certificate with the fingerprint `of` (32 bytes) is that of this pod.

    `key` is the namespace's. The fingerprint's length is fixed, so no two pairs read the same.

    >>> attestation(namespace_key(bytes(32), "u1"), "pod-1", fingerprint(b"a certificate")).hex()
    '19eba07760dfba57b9e751c9bb8c79c0b4b897635d515a69cfba01d1a13bdc67'
    """
    return hmac.digest(key, pod_uid.encode() + of, "sha256")


def attests(said: bytes, key: bytes, pod_uid: str, of: bytes) -> bool:
    """Whether `said` is that attestation; compared in a time that tells nothing about it.

    >>> said = attestation(b"key", "pod-1", fingerprint(b"a certificate"))
    >>> attests(said, b"key", "pod-1", fingerprint(b"a certificate"))
    True
    >>> attests(said, b"key", "pod-2", fingerprint(b"a certificate")), attests(b"", b"key", "pod-1", bytes(32))
    (False, False)
    """
    return hmac.compare_digest(said, attestation(key, pod_uid, of))
