"""How another gateway is reached: TLS to its pod's address. Implements mesh.PeerDialer."""

import asyncio

from rolehost_runtime.gateway.peers.identity import PlatformIdentity
from rolehost_runtime.gateway.tables import GatewayEntry

TLS_SECONDS = 5.0


class TlsPeerDialer:
    def __init__(self, identity: PlatformIdentity) -> None:
        self._identity = identity

    async def dial(self, peer: GatewayEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to a gateway that has shown the platform's certificate. Raises OSError."""
        host, _, port = peer.address.rpartition(":")
        reader, writer = await asyncio.open_connection(
            host.strip("[]"),
            int(port),
            ssl=self._identity.client_context(),
            ssl_handshake_timeout=TLS_SECONDS,
            ssl_shutdown_timeout=TLS_SECONDS,
        )
        if not self._identity.knows(writer.get_extra_info("ssl_object").getpeercert(binary_form=True)):
            writer.close()
            raise ConnectionRefusedError("who listens there is not a gateway")
        return reader, writer
