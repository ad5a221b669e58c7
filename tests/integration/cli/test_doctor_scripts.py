"""What the doctor's pods run, run here: the kernel's log under gVisor and not, and ports that are open or closed."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rolehost.cli.doctor import objects, walls
from rolehost.cli.doctor.finding import Finding, State
from rolehost.cli.doctor.trials import last_line
from rolehost.cli.doctor.walls import Trial

RUNSC = shutil.which("runsc") or str(
    Path(os.environ.get("ROLEHOST_CLUSTER_BIN", "~/.cache/rolehost/cluster/bin")).expanduser() / "runsc"
)
PORTS = (objects.BOTH, objects.NO_EGRESS, objects.NO_INGRESS)


def run(script: str, *arguments: object, prefix: Sequence[str] = ()) -> Trial:
    command = [*prefix, sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Trial(said=last_line(done.stdout))


def test_this_machines_kernel_is_not_gvisors() -> None:
    found = walls.gvisor(run(objects.KERNEL))
    assert found.state is State.FAIL
    assert os.uname().release in found.what


@pytest.mark.timeout(90)
def test_gvisors_kernel_is_known_by_its_log() -> None:
    if not Path(RUNSC).is_file() or os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("runsc is not to be had; `make cluster` builds it")
        pytest.skip("runsc is not to be had, or we are not root")
    prefix = (RUNSC, "--network=none", "--ignore-cgroups", "do", "--")
    assert walls.gvisor(run(objects.KERNEL, prefix=prefix)).state is State.OK


def tried(*listening: int) -> Finding:
    """The client's script against the server's, which listens on some of three ports; the others are a wall."""
    reserved = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    real = dict(zip(PORTS, (one.getsockname()[1] for one in reserved), strict=True))
    for one in reserved:
        one.close()
    server = subprocess.Popen([sys.executable, "-c", objects.SERVE, *(str(real[port]) for port in listening)])
    try:
        told = run(objects.TRY, "127.0.0.1", 5, objects.SETTLED_ROUNDS, *real.values())
    finally:
        server.kill()
        server.wait()
    assert told.said is not None
    names = {str(number): str(port) for port, number in real.items()}
    rounds = [{names[number]: reached for number, reached in one.items()} for one in told.said["rounds"]]
    return walls.network(Trial(said={}), Trial(said={"rounds": rounds}))


def test_ports_behind_no_wall_are_found_open() -> None:
    assert tried(*PORTS).what == "not enforced outward and inward: a pod reached what its policy forbids"


def test_ports_behind_a_wall_are_found_closed_while_the_control_is_open() -> None:
    assert tried(objects.BOTH).state is State.OK


def test_one_open_port_names_its_way() -> None:
    assert "not enforced inward" in tried(objects.BOTH, objects.NO_INGRESS).what


def test_nothing_that_answers_proves_nothing() -> None:
    assert "nothing is proved" in tried().what
