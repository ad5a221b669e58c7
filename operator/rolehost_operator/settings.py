"""Process settings: read once at the start, from options or `ROLEHOST_*`, and never changed after."""

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rolehost_api.errors import BadRequest
from rolehost_api.names import host_port
from rolehost_operator.objects import KubeObject
from rolehost_operator.platform import Platform

METADATA_SERVICE = "169.254.169.254:80"


@dataclass(frozen=True, slots=True)
class Settings:
    platform: Platform
    identity: str
    """Of this process: another one, a restart of this included, is another."""
    platform_keys: Path
    """Folder of the gateways' public keys, read again as long as the process lives."""
    token_file: Path | None
    metrics_port: int
    internal_port: int
    watch_silence_seconds: float
    """Without even a bookmark, before a watch is taken for dead."""
    prometheus_url: str = ""
    """Where rollouts' evidence is; empty: nowhere."""
    prometheus_token: Path | None = None
    prometheus_matchers: str = ""
    """What tells the gateways' series from others' of the same name."""


def public_keys(folder: Path) -> tuple[str, ...]:
    """The Ed25519 keys in the folder's PEM files (certificates or bare keys), as base64 of the raw bytes.

    In the order of the files' names. Raises BadRequest: a sandbox without a key would
    trust nobody, and never be bound.
    """
    found = []
    for file in sorted(folder.glob("*.pem")):
        pem = file.read_bytes()
        try:
            if b"BEGIN CERTIFICATE" in pem:
                key = x509.load_pem_x509_certificate(pem).public_key()
            else:
                key = serialization.load_pem_public_key(pem)  # type: ignore[assignment]
        except ValueError:
            raise BadRequest(f"{file} is neither a certificate nor a public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise BadRequest(f"{file} holds no Ed25519 key")
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        found.append(base64.b64encode(raw).decode())
    if not found:
        raise BadRequest(f"no *.pem in {folder}", hint="The chart mounts the gateways' public keys there")
    return tuple(found)


def probe_targets(given: str, api_host: str, api_port: str, resolver: str) -> tuple[str, ...]:
    """What a sandbox tries to reach and must not: as given, else the apiserver, the resolver, the metadata service.

    >>> probe_targets("", "10.96.0.1", "443", "nameserver 10.96.0.10\\n")
    ('10.96.0.1:443', '10.96.0.10:53', '169.254.169.254:80')
    >>> probe_targets("a:1, b:2", "10.96.0.1", "443", "")
    ('a:1', 'b:2')
    """
    if given:
        return tuple(part.strip() for part in given.split(",") if part.strip())
    servers = [words[1] for line in resolver.splitlines() if (words := line.split())[:1] == ["nameserver"]]
    api = [host_port(api_host, api_port)] if api_host else []
    return (*api, *(host_port(server, "53") for server in servers[:2]), METADATA_SERVICE)


def service_targets(service: KubeObject) -> tuple[str, ...]:
    """Where a Service listens: each of its addresses, each of its TCP ports. None where it has no address.

    >>> ports = [{"port": 8080}, {"port": 53, "protocol": "UDP"}]
    >>> service_targets({"spec": {"clusterIPs": ["10.96.3.4", "fd00::1"], "ports": ports}})
    ('10.96.3.4:8080', '[fd00::1]:8080')
    >>> service_targets({"spec": {"clusterIP": "None", "ports": ports}})
    ()
    """
    spec = service.get("spec", {})
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    ports = [str(port["port"]) for port in spec.get("ports", []) if port.get("protocol", "TCP") == "TCP"]
    return tuple(host_port(one, port) for one in addresses if one != "None" for port in ports)
