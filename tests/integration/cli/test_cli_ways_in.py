"""How `rolehost chat` finds a gateway: over TLS that an edge ends, by the Role's own address, through kubectl.

The gateway is the real edge with sessions that say back what they hear. kubectl is a script
where the cluster would be: what a port-forward does on a real one is in tests/e2e.
"""

import asyncio
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.apiserver import Authority
from tests.support.edge import ACME_KEY, Edge, start_edge
from tests.support.tls import tls_edge
from websockets.asyncio.client import connect

from rolehost.cli.forward import Forward
from rolehost.cli.kubectl import Kubectl

PATIENCE = 25


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    running = await start_edge()
    yield running
    await running.hub.drain(0, 0)
    await running.server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secure(edge: Edge, authority: Authority) -> AsyncIterator[str]:
    async with tls_edge(edge.port, *authority.issue("edge", server=True)) as port:
        yield f"https://localhost:{port}"


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROLEHOST_", "SSL_"))}
    return {**kept, "HOME": str(folder), "ROLEHOST_KEY": ACME_KEY, **more}


async def rolehost(*arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "rolehost.cli", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def kubectl(folder: Path, script: str) -> str:
    """PATH with a kubectl of our own before everything else."""
    program = folder / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport os, sys, time, signal, pathlib\n{script}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


# ── TLS by the edge ─────────────────────────────────────────────────────────────────


async def test_a_chat_over_tls_with_a_ca_of_ones_own(secure: str, authority: Authority, tmp_path: Path) -> None:
    env = environment(tmp_path, ROLEHOST_URL=secure, SSL_CERT_FILE=str(authority.file))
    code, out, err = await rolehost("chat", "storyteller", "-m", "a dragon", env=env)
    assert (code, out) == (0, "a dragon\n")
    assert f"gateway: {secure} (--url or ROLEHOST_URL)" in err


async def test_rest_goes_the_same_way(secure: str, authority: Authority, tmp_path: Path) -> None:
    env = environment(tmp_path, SSL_CERT_FILE=str(authority.file))
    code, out, _ = await rolehost("logs", "storyteller", "--url", secure.replace("https", "wss"), env=env)
    assert code == 0
    assert "storyteller 2" in out


async def test_a_certificate_of_nobody_is_refused_with_what_to_do(secure: str, tmp_path: Path) -> None:
    code, out, err = await rolehost("chat", "storyteller", "-m", "hi", env=environment(tmp_path, ROLEHOST_URL=secure))
    assert (code, out) == (1, "")
    assert "not trusted here" in err
    assert "SSL_CERT_FILE" in err


async def test_a_client_of_ones_own_talks_over_tls(secure: str, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    address = f"{secure.replace('https', 'wss')}/role/storyteller"
    headers = {"Authorization": f"Bearer {ACME_KEY}"}
    async with connect(address, ssl=context, additional_headers=headers) as client:
        await client.send('{"message": "well", "session_id": "s"}')
        async for heard in client:
            if '"response.done"' in str(heard):
                break
    assert '"message":"well"' in str(heard)


# ── the Role's own address ──────────────────────────────────────────────────────────

TELLS = """
if "get" in sys.argv:
    print('{"status": {"address": {"url": "%s"}}}')
    sys.exit()
sys.exit("Error: no port-forward was wanted")
"""


async def test_the_roles_address_is_taken_where_it_leads_to_a_gateway(
    secure: str, authority: Authority, tmp_path: Path
) -> None:
    path = kubectl(tmp_path, TELLS % f"{secure.replace('https', 'wss')}/role/storyteller")
    env = environment(tmp_path, PATH=path, SSL_CERT_FILE=str(authority.file))
    code, out, err = await rolehost("chat", "Storyteller", "-m", "a cat", "-n", "acme", env=env)
    assert (code, out) == (0, "a cat\n")
    assert f"gateway: {secure} (the Role's address)" in err


FORWARDS = """
if "get" in sys.argv:
    print('{"status": {"address": {"url": "%(said)s"}}}')
    sys.exit()
assert sys.argv[1:] == ["--namespace=rolehost-system", "port-forward", "service/rolehost-gateway", ":8080",
    "--address=127.0.0.1"], sys.argv
pathlib.Path("%(pid)s").write_text(str(os.getpid()))
print("Forwarding from 127.0.0.1:%(port)d -> 8080", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        pytest.param("ws://rolehost-gateway.rolehost-system.svc:8080/role/storyteller", "", id="known-inside-only"),
        pytest.param("wss://roles.invalid/role/storyteller", "its name is not known here", id="unknown-name"),
        pytest.param("ws://8.8.8.8:9/role/storyteller", "no TLS", id="in-the-clear"),
        pytest.param("wss://localhost:1/role/storyteller", "Connection refused", id="nobody-there"),
    ],
)
async def test_else_a_port_forward_that_ends_with_the_chat(edge: Edge, tmp_path: Path, said: str, why: str) -> None:
    pid = tmp_path / "pid"
    path = kubectl(tmp_path, FORWARDS % {"said": said, "pid": pid, "port": edge.port})
    env = environment(tmp_path, PATH=path)
    code, out, err = await rolehost("chat", "storyteller", "-m", "a cat", "-n", "acme", env=env)
    assert (code, out) == (0, "a cat\n")
    assert f"gateway: rolehost-system/rolehost-gateway through 127.0.0.1:{edge.port} (kubectl port-forward)" in err
    assert (why in err) if why else ("no way from here" not in err)
    assert gone(int(pid.read_text()))


async def test_a_chat_that_is_told_to_end_takes_its_port_forward_along(edge: Edge, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    path = kubectl(tmp_path, FORWARDS % {"said": "", "pid": pid, "port": edge.port})
    command = [sys.executable, "-m", "rolehost.cli", "chat", "storyteller", "-n", "acme", "-m", "wait"]
    process = subprocess.Popen(command, env=environment(tmp_path, PATH=path), stdout=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while not edge.sessions.opened and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert edge.sessions.opened, "the chat never came"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 128 + signal.SIGTERM
    assert process.stdout is not None
    process.stdout.close()
    edge.sessions.gate.set()
    assert gone(int(pid.read_text()))


KEEPS_PORT = """
with pathlib.Path("%s").open("a") as log:
    log.write(sys.argv[4] + "\\n")
print("Forwarding from 127.0.0.1:18123 -> 8080", flush=True)
time.sleep(0 if sys.argv[4].startswith(":") else 60)
"""


async def test_a_port_forward_that_died_comes_back_on_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl ends with the gateway's pod; the chat's address must not change under it."""
    log = tmp_path / "log"
    monkeypatch.setenv("PATH", kubectl(tmp_path, KEEPS_PORT % log))
    forward = Forward(Kubectl(namespace="rolehost-system"))
    try:
        forward.ensure()
        assert forward.address == "127.0.0.1:18123"
        assert forward._process is not None
        await asyncio.to_thread(forward._process.wait, PATIENCE)
        forward.ensure()
        forward.ensure()
        assert log.read_text().split() == [":8080", "18123:8080"]
        forward.ensure(broken=True)
        assert log.read_text().split() == [":8080", "18123:8080", "18123:8080"]
    finally:
        forward.stop()


REFUSES = """
print('Error from server (Forbidden): services "rolehost-gateway" is forbidden', file=sys.stderr)
sys.exit(1)
"""


async def test_where_there_is_no_way_the_error_says_what_to_do(tmp_path: Path) -> None:
    env = environment(tmp_path, PATH=kubectl(tmp_path, REFUSES))
    code, _, err = await rolehost("chat", "storyteller", "-n", "acme", "-m", "hi", env=env)
    assert code == 1
    assert "is forbidden" in err
    assert "--url" in err
    assert "KUBECONFIG" in err


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
