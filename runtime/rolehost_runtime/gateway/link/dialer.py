"""How a pod of a cluster is reached: TLS to its own address. Implements ports.Dialer."""

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable

from rolehost_api.link.messages import Hello
from rolehost_runtime.gateway.link.attest import NotAttested, attested
from rolehost_runtime.gateway.tables import PodEntry

SHUTDOWN_SECONDS = 5.0


class TlsDialer:
    def __init__(self, root: bytes, refused: Callable[[], None]) -> None:
        """`root` is the platform's attestation secret; `refused` hears of every listener that is not its pod."""
        self._root, self._refused = root, refused
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._tls.options |= ssl.OP_NO_TICKET
        # There is no authority and no name: a certificate is worth what its attestation is.
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A pod whose host died says nothing; its link must end all the same.

        Raises OSError; NotAttested where what listens there speaks no TLS 1.3.
        """
        host, _, port = pod.address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(
                host.strip("[]"),
                int(port),
                ssl=self._tls,
                server_hostname="",
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except ssl.SSLError:
            self._refused()
            raise NotAttested("a pod's listener speaks no TLS") from None
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            for option, seconds in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
                sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
        return reader, writer

    def attested(self, pod: PodEntry, writer: asyncio.StreamWriter, hello: Hello) -> bytes:
        tls = writer.get_extra_info("ssl_object")
        try:
            return attested(self._root, pod, tls.getpeercert(binary_form=True) if tls else None, hello)
        except NotAttested:
            self._refused()
            raise
