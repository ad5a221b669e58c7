"""The doctor's way to the cluster stands once kubectl's proxy listens, not once its socket has a name."""

import sys
from pathlib import Path

import pytest

from rolehost.cli.doctor.api import api
from rolehost.cli.kubectl import Kubectl

pytestmark = pytest.mark.integration

SLOW_PROXY = f"""#!{sys.executable}
import socket, sys, time

server = socket.socket(socket.AF_UNIX)
server.bind(next(one.partition("=")[2] for one in sys.argv if one.startswith("--unix-socket=")))
time.sleep(0.3)
server.listen()
while True:
    peer, _ = server.accept()
    if peer.recv(65536):
        peer.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n{{}}")
    peer.close()
"""


async def test_nothing_is_asked_before_the_proxy_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(SLOW_PROXY)
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    async with api(Kubectl()) as found:
        assert (await found.ask("GET", "/version")).status == 200
