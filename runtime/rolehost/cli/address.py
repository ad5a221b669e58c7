"""The address in a Role's status, and whether it leads to a gateway from this machine."""

import ipaddress
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

SECONDS = 3.0
"""For finding the name, and again for an answer."""


def base_of(said: str, role: str) -> str:
    """The gateway's own address in a Role's: empty where it is none.

    >>> base_of("wss://roles.example.com/role/cat", "cat")
    'https://roles.example.com'
    >>> base_of("ws://rolehost-gateway.rolehost-system.svc:8080/base/role/cat", "cat")
    'http://rolehost-gateway.rolehost-system.svc:8080/base'
    >>> base_of("wss://roles.example.com/elsewhere", "cat"), base_of("ftp://x/role/cat", "cat"), base_of("", "cat")
    ('', '', '')
    """
    parts = urlsplit(said)
    tail = f"/role/{role}"
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not parts.path.endswith(tail):
        return ""
    return f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}{parts.path.removesuffix(tail)}"


def inside(url: str) -> bool:
    """Whether it is a name that only the cluster knows.

    >>> inside("ws://rolehost-gateway.rolehost-system.svc:8080/role/cat"), inside("wss://roles.example.com/role/cat")
    (True, False)
    """
    return (urlsplit(url).hostname or "").endswith((".svc", ".cluster.local"))


def unreachable(base: str) -> str | None:
    """Why the gateway cannot be reached there from here; None where it answers. No key is sent."""
    parts = urlsplit(base)
    found = _addresses(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    if not found:
        return "its name is not known here"
    if parts.scheme == "http" and not all(ipaddress.ip_address(address).is_private for address in found):
        return "it has no TLS, and a key is not sent over a public network in the clear"
    try:
        with urllib.request.urlopen(f"{base}/healthz", timeout=SECONDS) as response:  # noqa: S310 - http(s), see base_of
            health = json.loads(response.read(4096))
    except (OSError, ValueError) as error:
        return plainly(error)
    return None if isinstance(health, dict) and "ok" in health else "what answers there is no gateway"


def _addresses(host: str, port: int) -> list[str]:
    """What the name resolves to, or nothing: a resolver may be silent for long, so it is not waited for."""
    found: list[str] = []

    def resolve() -> None:
        try:
            found.extend(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, port))
        except (OSError, UnicodeError):
            return

    asking = threading.Thread(target=resolve, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return list(found)


def plainly(error: Exception) -> str:
    """Why a connection failed, without the number of the error, and with what to do where it is a certificate.

    >>> plainly(urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")))
    'Connection refused'
    """
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted here ({inner.verify_message}); "
            "if a CA of your own made it: export SSL_CERT_FILE=/path/to/ca.pem"
        )
    return str(getattr(inner, "strerror", None) or inner)
