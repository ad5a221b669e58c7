"""What the platform team decided, as far as a plan depends on it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Platform:
    namespace: str
    """The platform's own: gateways run here."""
    sandbox_image: str
    gateway_url: str
    """Where clients connect, without a path, e.g. ws://rolehost-gateway.rolehost-system:8080."""
    public_keys: tuple[str, ...] = ()
    """The gateways' Ed25519 keys, base64 of the raw 32 bytes: current and next."""
    attestation_root: bytes = field(default=b"", repr=False)
    """Secret: every tenant namespace's key is made of it (rolehost_api/link/attestation.py)."""
    probe_targets: tuple[str, ...] = ()
    """host:port of what a sandbox must not reach; it tries each before any tenant byte."""
    gateway_targets: tuple[str, ...] = ()
    """ip:port of the gateways' Service: the probe's positive control, for somebody is known to listen there."""
    image_pull_policy: str = "IfNotPresent"
    upgrade_percent: int = 10
    """Of all sandbox Deployments, how many may roll to another runtime at the same time; at least one does."""
