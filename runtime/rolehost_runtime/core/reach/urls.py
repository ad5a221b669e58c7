"""A URL, read in one strict way. Whatever two readers could take for different hosts is refused."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import quote

from rolehost_api.errors import BadRequest

MAX_URL_CHARS = 4096
PORTS = {"https": 443, "http": 80}
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(#.*)?", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_KEPT = "%/:?#[]@!$&'()*+,;=-._~"
"""What stays as it is in a path and a query; `%` too, for it is encoded already."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    """A name in lower case without a last dot, or an IPv4 address as four decimal numbers."""
    port: int
    path: str
    """With the query; ASCII, and never empty."""

    @property
    def authority(self) -> str:
        """As the Host header has it.

        >>> parse("https://api.acme.com/v1").authority, parse("http://api.acme.com:8080").authority
        ('api.acme.com', 'api.acme.com:8080')
        """
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def address(self) -> IPv4Address | None:
        """Where the host is one; else it is to be resolved."""
        return IPv4Address(self.host) if self.host.replace(".", "").isdigit() else None


def parse(url: str) -> Target:
    """Raises BadRequest `http_invalid_url`, which does not quote it.

    >>> parse("HTTPS://API.acme.com./v1/räume?q=1#top").url
    'https://api.acme.com/v1/r%C3%A4ume?q=1'

    Numbers that some readers take for an address are none here, and whoever names somebody before `@` means trouble:

    >>> for url in ("http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://a@b.com/", "https://[::1]/"):
    ...     try: parse(url)
    ...     except BadRequest as refused: print(refused.code)
    http_invalid_url
    http_invalid_url
    http_invalid_url
    http_invalid_url
    http_invalid_url
    """
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        raise _invalid(f"is not text of at most {MAX_URL_CHARS} characters")
    if any(char <= " " or char in "\\\x7f" for char in url):
        raise _invalid("holds a space, a control character or a backslash", "Encode it, e.g. as %20; or use params=")
    found = _URL.fullmatch(url)
    if found is None:
        raise _invalid("does not begin with https://", "e.g. https://api.acme.com/v1/rooms")
    scheme = found["scheme"].lower()
    host, port = _authority(found["authority"].lower(), scheme)
    rest = found["rest"]
    try:
        path = quote(rest if rest.startswith("/") else f"/{rest}", safe=_KEPT)
    except UnicodeEncodeError:
        raise _invalid("holds half a surrogate pair") from None
    if len(path) > 2 * MAX_URL_CHARS:
        raise _invalid("is too long when it is encoded")
    return Target(scheme, host, port, path)


def _authority(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise _invalid("names a user before the host", "Send a header, e.g. Authorization")
    if "[" in authority:
        raise _invalid("has an IPv6 address for a host", "Use the name that it has in the DNS")
    host, colon, digits = authority.partition(":")
    if colon and not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) <= 65535):
        raise _invalid("has a port that is none")
    return _host(host.removesuffix(".")), int(digits) if colon else PORTS[scheme]


def _host(host: str) -> str:
    if not host.isascii():
        raise _invalid("has a host that is not ASCII", "Write it in its xn-- form")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _invalid("has a host that is no name")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise _invalid("has a number for a host", "An address is four decimal numbers, e.g. 192.0.2.1") from None
    return host


def _invalid(why: str, hint: str = "") -> BadRequest:
    return BadRequest(f"the URL {why}", hint=hint, code="http_invalid_url")
