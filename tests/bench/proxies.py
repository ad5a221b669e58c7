"""Plain reverse proxies of a streaming upstream: nginx where it is installed, else the barest relay in Python."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from tests.bench import machine
from tests.bench.servers import python, server
from tests.support.ports import free_port

CONFIG = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


@contextmanager
def plain_proxy(upstream: int) -> Iterator[tuple[str, int, set[int]]]:
    """Its name, its port, and its processes."""
    port, nginx = free_port(), shutil.which("nginx")
    with tempfile.TemporaryDirectory(prefix="rh-nginx-") as folder:
        argv, name = python("tests.bench.proxies", str(port), str(upstream)), "bare relay"
        if nginx:
            config = Path(folder, "nginx.conf")
            config.write_text(CONFIG.format(folder=folder, port=port, upstream=upstream))
            Path(folder).chmod(0o755)
            argv, name = [nginx, "-c", str(config), "-p", folder], "nginx"
        with server(name, argv, f"127.0.0.1:{port}") as pid:
            yield name, port, machine.family(pid)


class Relay(asyncio.Protocol):
    """One half of a connection: what comes is written to the other one."""

    def __init__(self, upstream: int | None) -> None:
        self._upstream, self._early = upstream, b""
        self.other: asyncio.Transport | None = None
        self._mine: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._mine = transport
        if self._upstream is not None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial(self._upstream, transport))

    async def _dial(self, upstream: int, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        far, there = await loop.create_connection(lambda: Relay(None), "127.0.0.1", upstream)
        self.other, there.other = far, transport
        far.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


async def relay(port: int, upstream: int) -> None:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Relay(upstream), "127.0.0.1", port, backlog=1024)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(relay(int(sys.argv[1]), int(sys.argv[2])))
