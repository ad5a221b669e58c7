"""Whether the other end of a connection is the pod that we mean to reach. Pure.

An address proves nothing: a watch that lags shows a pod of yesterday, and its address may
be another tenant's pod by now, or some listener of theirs. Until `attested` says yes a
link is silent.
"""

from rolehost_api.errors import Unavailable
from rolehost_api.link.attestation import NOT_ATTESTED, attests, fingerprint, namespace_key
from rolehost_api.link.messages import Hello, LoadError
from rolehost_runtime.gateway.tables import PodEntry


class NotAttested(Unavailable):
    """Whoever listens there is not the pod of our table. Nothing was sent; a newer table mends it."""

    code = NOT_ATTESTED

    def __init__(self, why: str) -> None:
        super().__init__(
            why,
            hint="Nothing was sent to it. It heals when the pod's new address is seen; where it stays, the pod is older "
            "than its namespace's Secret rolehost-link: delete the pod",
        )

    @property
    def fault(self) -> LoadError:
        """For the report to the operator."""
        return LoadError(code=self.code, hint=self.hint[:256])


def attested(root: bytes, pod: PodEntry, certificate: bytes | None, hello: Hello) -> bytes:
    """The fingerprint of the pod's certificate, which our own proof must name. Raises NotAttested.

    `certificate` is the one (DER) whose private key the other end has just been seen to
    hold. The key is that of the namespace, by its UID, that our table says the pod is in;
    so is the pod's UID.
    """
    if certificate is None:
        raise NotAttested("a pod's listener showed no certificate")
    found = fingerprint(certificate)
    if not attests(hello.attestation, namespace_key(root, pod.tenant.uid), pod.uid, found):
        raise NotAttested("a pod's listener is not attested as that pod")
    return found
