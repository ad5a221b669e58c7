"""The same cluster on kind, where Docker answers. Not run here: the machine this was written on has no Docker engine.

kind does what node, enforcer and the DNS manifest do elsewhere: from 0.24 on its network plugin enforces
NetworkPolicies. gVisor's two programs are built like any other part and mounted into the node.
"""

import os
import shutil
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import images, node, parts
from tests.cluster.common import Impossible, Paths, call, say, write
from tests.cluster.namespace import Process

NAME = "rolehost"
VERSION = "v0.30.0"
PARTS = ("gvisor", "helm")
PYTHON = f"docker.io/library/python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def wanted() -> bool:
    """Whether Docker answers; ROLEHOST_CLUSTER=kind or =parts decides otherwise."""
    if (chosen := os.environ.get("ROLEHOST_CLUSTER")) in ("kind", "parts"):
        return chosen == "kind"
    if shutil.which("docker") is None:
        return False
    answered = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    return answered.returncode == 0


def up(where: Paths) -> None:
    """Make the cluster, if there is none, and a kubeconfig for it where the other modules look for one."""
    kind = _kind(where)
    parts.build(where, PARTS)
    where.log.mkdir(parents=True, exist_ok=True)
    if NAME not in call([kind, "get", "clusters"]).split():
        recipe = string.Template(Path(__file__).with_name("kind.yaml").read_text()).substitute(BIN=where.bin)
        write(where.run / "kind.yaml", recipe)
        say("making a kind cluster: about a minute, more if the node's image is not here yet")
        call([kind, "create", "cluster", "--config", str(where.run / "kind.yaml"), "--wait", "120s"], timeout=600)
    write(where.kubeconfig, call([kind, "get", "kubeconfig", "--name", NAME]))
    _remember_node(where)


def load(where: Paths, wanted_images: Sequence[images.Image]) -> None:
    """Build with Docker from the same Containerfiles and give the images to the node.

    Our own images take their default base. The model server's wheels were made by this Python, so its base has it too.
    """
    for image in wanted_images:
        argv = ["docker", "build", "--quiet", "--tag", image.name]
        argv += ["--target", image.target] if image.target else ["--build-arg", f"BASE={PYTHON}"]
        with images.context(where, image) as (recipe, folder):
            say(f"  building {image.name} …")
            call([*argv, "--file", str(recipe), str(folder)], timeout=1800)
    call([_kind(where), "load", "docker-image", "--name", NAME, *(image.name for image in wanted_images)], timeout=600)


def down(where: Paths) -> None:
    for pid_file in where.run.glob("relay-*.pid"):
        node.stop_process(pid_file)
    call([_kind(where), "delete", "cluster", "--name", NAME], timeout=120)
    shutil.rmtree(where.run, ignore_errors=True)


def running(where: Paths) -> bool:
    return (where.run / "kind.yaml").exists()


def _kind(where: Paths) -> str:
    """kind from PATH, else built once with Go."""
    built = where.bin / "kind"
    if (found := shutil.which("kind")) is not None:
        return found
    if not built.exists():
        if shutil.which("go") is None:
            raise Impossible(f"Docker answers but kind is not installed, nor Go to build it: install kind {VERSION}")
        say("building kind: about a minute, once")
        call(["go", "install", f"sigs.k8s.io/kind@{VERSION}"], timeout=900, env={"GOBIN": str(where.bin)})
    return str(built)


def _remember_node(where: Paths) -> None:
    """The node's container is what the holder is elsewhere: whoever may enter its network can relay into it."""
    pid = call(["docker", "inspect", "--format", "{{.State.Pid}}", f"{NAME}-control-plane"]).strip()
    if not Path(f"/proc/{pid}/ns/net").exists():
        raise Impossible(
            "Docker's containers are not processes of this machine (Docker Desktop): nothing can be relayed into them"
        )
    Process.of(int(pid)).save(where.run / "holder.pid")
