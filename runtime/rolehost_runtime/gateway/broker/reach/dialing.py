"""A connection to an address that was checked. The name is resolved once, and what is connected to is what was checked."""

import asyncio
import ssl
from ipaddress import ip_address

from rolehost_runtime.core.reach.addresses import Reachable
from rolehost_runtime.core.reach.urls import Target
from rolehost_runtime.gateway.broker.reach import failures
from rolehost_runtime.gateway.broker.reach.lookup import Lookup

CONNECT_SECONDS = 5.0
"""For one address, TLS among it."""
MAX_TRIED = 4
BUFFER_BYTES = 65_536

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def trusted() -> ssl.SSLContext:
    """The system's authorities, or those of SSL_CERT_FILE."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialing:
    def __init__(self, reachable: Reachable, lookup: Lookup, tls: ssl.SSLContext | None = None) -> None:
        self._reachable, self._lookup = reachable, lookup
        self._tls = tls

    async def open(self, target: Target, tenant: str) -> Stream:
        """Raises Forbidden `http_refused_address` where any address of the host is refused, or `http_unreachable`.

        One bad address among good ones is no accident: whoever answers so waits for a client that takes the next one.
        """
        literal = target.address
        found = [str(literal)] if literal is not None else await self._lookup.addresses(target.host, tenant)
        if not all(self._reachable.allows(address) for address in found):
            raise failures.refused_address()
        for address in found[:MAX_TRIED]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._connect(address, target)
            except (OSError, TimeoutError, ssl.CertificateError):
                continue
        raise failures.unreachable()

    async def _connect(self, address: str, target: Target) -> Stream:
        secure = target.scheme == "https"
        if secure and self._tls is None:
            self._tls = trusted()
        reader, writer = await asyncio.open_connection(
            address,
            target.port,
            ssl=self._tls if secure else None,
            server_hostname=target.host if secure else None,
            limit=BUFFER_BYTES,
        )
        peer = writer.get_extra_info("peername")
        if not peer or ip_address(str(peer[0])) != ip_address(address):
            writer.transport.abort()
            raise failures.refused_address()
        return reader, writer
