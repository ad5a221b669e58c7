"""The programs of the node and the S3 of the tests: which versions, how they are built, and when not to build again.

Each module below parts/ pins one program by go.mod and go.sum. A stamp beside the binaries holds the hash of those
two files and of the flags; a part is built again only when that hash changes.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.common import REPOSITORY, ClusterError, Impossible, Paths, say, write

SOURCES = REPOSITORY / "tests/cluster/parts"
KUBERNETES = "v1.34.4"
VERSION_FLAGS = (
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}"
    " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
)

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "mmdebstrap": "mmdebstrap",
    "redis-server": "redis-server",
    "/bin/busybox": "busybox-static",
}
"""What Debian ships: the program or file that shows its presence -> the package."""


@dataclass(frozen=True)
class Part:
    """One Go module and the programs built from it."""

    module: str
    programs: dict[str, str]
    """Name of the binary -> the package that it is built from."""
    cold_minutes: float
    """How long it takes on two cores with nothing cached; said before building."""
    flags: str = field(default="-s -w")

    def stamp(self) -> str:
        """Changes when, and only when, the binaries would."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((SOURCES / self.module / name).read_bytes())
        digest.update(repr((sorted(self.programs.items()), self.flags)).encode())
        return digest.hexdigest()


PARTS = (
    Part("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, 1),
    Part(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
        },
        9,
        flags=f"-s -w {VERSION_FLAGS}",
    ),
    Part("gvisor", {"runsc": "gvisor.dev/gvisor/runsc", "containerd-shim-runsc-v1": "gvisor.dev/gvisor/shim"}, 1.5),
    Part("coredns", {"coredns": "github.com/coredns/coredns"}, 4),
    Part("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, 2.5),
    Part("gofakes3", {"gofakes3": "github.com/johannesboyne/gofakes3/cmd/gofakes3"}, 1),
    Part("otelcol", {"otelcol": "."}, 3),
    Part("jaeger", {"jaeger": "github.com/jaegertracing/jaeger/cmd/all-in-one"}, 3),
)


def missing_packages() -> list[str]:
    """Debian packages that the node needs and that are not here."""
    return sorted(
        {package for program, package in PACKAGES.items() if shutil.which(program) is None and not _is_file(program)}
    )


def _is_file(program: str) -> bool:
    return program.startswith("/") and Path(program).is_file()


def install_packages() -> None:
    """Install what Debian ships, where we may; elsewhere say which packages are missing."""
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Impossible(f"these packages are missing and only root on Debian can install them: {' '.join(missing)}")
    say(f"installing packages (about a minute): {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
    ):
        done = subprocess.run(argv, env=quiet, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(argv[:3])} failed:\n{done.stderr[-2000:]}")
    if still := missing_packages():
        raise Impossible(f"these packages could not be installed: {' '.join(still)}")


def stale(where: Paths, modules: Collection[str] = ()) -> list[Part]:
    """The parts whose binaries are missing or were built from something else; of these modules only, if any are named."""
    return [part for part in PARTS if (not modules or part.module in modules) and not _is_current(part, where)]


def minutes(where: Paths) -> float:
    """How long building what is stale takes with nothing cached."""
    return sum(part.cold_minutes for part in stale(where))


def _is_current(part: Part, where: Paths) -> bool:
    stamp = where.bin / f".{part.module}.stamp"
    built = all((where.bin / name).is_file() for name in part.programs)
    return built and stamp.is_file() and stamp.read_text() == part.stamp()


def build(where: Paths, modules: Collection[str] = ()) -> None:
    """Build every stale part; says first which, and how long a cold build takes."""
    todo = stale(where, modules)
    if not todo:
        return
    names = ", ".join(name for part in todo for name in part.programs)
    if shutil.which("go") is None:
        raise Impossible(f"there is no `go` on PATH (1.26 or newer) to build {names} with")
    total = sum(part.cold_minutes for part in todo)
    say(f"building {names}: about {total:.0f} min with nothing cached, seconds otherwise; kept in {where.bin}")
    where.bin.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(todo, 1):
        for name, package in part.programs.items():
            began = time.monotonic()
            say(f"  [{number}/{len(todo)}] {name} …")
            _go_build(part, name, package, where)
            say(f"  [{number}/{len(todo)}] {name} in {time.monotonic() - began:.0f} s")
        write(where.bin / f".{part.module}.stamp", part.stamp())


def _go_build(part: Part, name: str, package: str, where: Paths) -> None:
    """Static (runsc cannot unmount otherwise) and without paths, into place only when whole.

    -buildvcs is left to the environment: it is not part of the cached packages.
    """
    fresh = where.bin / f".{name}.new"
    argv = ["go", "build", "-trimpath", "-ldflags", part.flags, "-o", str(fresh), package]
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto")}
    done = subprocess.run(argv, cwd=SOURCES / part.module, env=env, capture_output=True, text=True, timeout=3600)
    if done.returncode != 0:
        raise ClusterError(f"building {name} failed:\n{done.stderr[-3000:]}")
    fresh.replace(where.bin / name)
