"""Which pages and which names in the Host header are answered. Pure."""

from dataclasses import dataclass

from rolehost_api.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Policy:
    """A page of a foreign site must not speak in its visitor's name; a rebound DNS name must
    not make a foreign page ours. A client without an Origin is no browser."""

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    own_page: bool = False
    """The gateway serves a page itself, so its own origin is allowed."""

    def check(self, host: str | None, origin: str | None) -> None:
        """Raises Forbidden `host_not_allowed` or `origin_not_allowed`.

        >>> Policy(hosts=frozenset({"localhost"})).check("LOCALHOST:8080", None)
        >>> Policy(own_page=True).check("localhost:8080", "http://localhost:8080")
        """
        if self.hosts and _name(host or "") not in self.hosts:
            raise Forbidden("this address is not answered under that name", code="host_not_allowed")
        if origin is None or origin.lower() in self.origins:
            return
        if self.own_page and host and origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return
        raise Forbidden(
            "pages of this origin may not connect",
            hint="Add it to gateway.allowedOrigins",
            code="origin_not_allowed",
        )


def _name(host: str) -> str:
    """The host without its port, in lower case.

    >>> _name("[::1]:8080"), _name("Localhost"), _name("a.b:1")
    ('[::1]', 'localhost', 'a.b')
    """
    head, colon, port = host.rpartition(":")
    return (head if colon and port.isdigit() else host).lower()
