"""Images: built by buildah on a base made with mmdebstrap, loaded straight into the node's containerd.

Everything is cached by what went into it. After an edit only the last layer is new, and only that layer travels: the
archive given to containerd leaves out every blob that it has already.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import config
from tests.cluster.common import REPOSITORY, ClusterError, Paths, call, say, write
from tests.cluster.namespace import entering, in_namespace

SUITE, INCLUDE = "bookworm", "python3,python3-venv,ca-certificates"
CONTAINERFILES = REPOSITORY / "tests/cluster/containerfiles"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Image:
    """An image that the node needs."""

    name: str
    """As pods name it, tag included."""
    target: str = ""
    """Target in the repository's Containerfile; empty for the tool's own images."""
    inputs: tuple[str, ...] = ()
    """What its own Containerfile copies: files of the cache or of the machine."""
    based: bool = False
    """Whether it stands on the Debian base."""


PLATFORM = (
    Image("localhost/rolehost-runtime:dev", target="runtime"),
    Image("localhost/rolehost-sandbox:dev", target="sandbox"),
    Image("localhost/rolehost-operator:dev", target="operator"),
)
NODE = (
    Image(config.PAUSE_IMAGE, inputs=("/bin/busybox",)),
    Image("localhost/coredns:1", inputs=("bin/coredns",)),
    Image("localhost/redis:7", based=True),
)
TINY_MODEL = Image("localhost/tinymodel:1", inputs=("wheels", "tiny.gguf"), based=True)
ALL = {image.name.removeprefix("localhost/").split(":")[0]: image for image in (*NODE, *PLATFORM, TINY_MODEL)}


def buildah(where: Paths, *argv: str, timeout: float = 900, env: dict[str, str] | None = None) -> str:
    """buildah with a store of our own: the machine's other images are none of our business."""
    store = ("--root", str(where.cache / "containers"), "--runroot", str(where.cache / "containers-run"))
    return call(["buildah", *store, *argv], timeout=timeout, env=env)


def base(where: Paths) -> str:
    """The Debian base, made once: 40 s, then never again until its contents are named differently."""
    mark = hashlib.sha256(f"{SUITE} {INCLUDE}".encode()).hexdigest()[:12]
    name = f"localhost/rolehost-base:{mark}"
    if name in buildah(where, "images", "--format", "{{.Name}}:{{.Tag}}").split():
        return name
    where.images.mkdir(parents=True, exist_ok=True)
    archive = where.images / f"base-{mark}.tar"
    if not archive.exists():
        say(f"making the base image from Debian {SUITE}: about 40 s")
        fresh = archive.with_suffix(".new.tar")
        call(["mmdebstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, str(fresh)], timeout=900)
        fresh.replace(archive)
    container = buildah(where, "from", "scratch").strip()
    try:
        buildah(where, "add", "--quiet", container, str(archive))
        buildah(where, "commit", "--quiet", container, name)
    finally:
        buildah(where, "rm", container)
    archive.unlink()
    return name


def build(where: Paths, image: Image) -> None:
    """Bring one image up to date in the store."""
    if image.target:
        _build(where, image, REPOSITORY / "Containerfile", REPOSITORY, ("--target", image.target))
        return
    short = image.name.removeprefix("localhost/").split(":")[0]
    recipe = CONTAINERFILES / f"{short}.Containerfile"
    stamp = where.images / f".{short}.stamp"
    mark = _mark(where, image, recipe)
    if stamp.exists() and stamp.read_text() == mark:
        return
    with tempfile.TemporaryDirectory(dir=where.images) as context:
        for given in image.inputs:
            source = where.cache / given
            if source.is_dir():
                shutil.copytree(source, Path(context) / source.name)
            else:
                shutil.copy2(source, Path(context) / source.name)
        _build(where, image, recipe, Path(context), ())
    write(stamp, mark)


def _mark(where: Paths, image: Image, recipe: Path) -> str:
    digest = hashlib.sha256(recipe.read_bytes())
    for given in image.inputs:
        source = where.cache / given
        if not source.exists():
            raise ClusterError(f"{source} is missing: run `python -m tests.cluster build` first")
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            about = file.stat()
            digest.update(f"{file.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest() + (base(where) if image.based else "")


def _build(where: Paths, image: Image, recipe: Path, context: Path, more: Sequence[str]) -> None:
    """One Containerfile to one image, without privileges beyond a chroot.

    The machine's CA certificates and package indexes serve the build (it may sit behind a proxy of its own) but stay
    out of the image.
    """
    argv = ["bud", "--quiet", "--isolation", "chroot", "--layers", "--format", "oci", "--tag", image.name]
    argv += [*more, "--file", str(recipe)]
    if image.target or image.based:
        argv += ["--build-arg", f"BASE={base(where)}"]
    if CERTIFICATES.exists():
        argv += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    began = time.monotonic()
    buildah(where, *argv, str(context))
    say(f"  {image.name} built in {time.monotonic() - began:.1f} s")


def load(where: Paths, names: Sequence[str]) -> None:
    """Give images of the store to the node, as they are, in one import."""
    began = time.monotonic()
    layout = where.images / "layout"
    manifests = []
    for name in names:
        buildah(where, "push", "--quiet", "--disable-compression", name, f"oci:{layout}:{name}")
    index = json.loads((layout / "index.json").read_text())
    for entry in index["manifests"]:
        name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
        if name in names:
            manifests.append({**entry, "annotations": {"io.containerd.image.name": name}})
    ctr = ["ctr", "--address", str(where.run / "containerd.sock"), "--namespace", "k8s.io"]
    there = set(in_namespace(where, [*ctr, "content", "ls", "--quiet"]).split())
    archive = where.images / "load.tar"
    sent = _archive(layout, manifests, there, archive)
    try:
        in_namespace(where, [*ctr, "images", "import", str(archive)], timeout=300)
    finally:
        archive.unlink(missing_ok=True)
    say(f"  {len(names)} images loaded ({sent / 1e6:.0f} MB new) in {time.monotonic() - began:.1f} s")


def _archive(layout: Path, manifests: Sequence[dict[str, object]], there: set[str], target: Path) -> int:
    """An OCI archive with these manifests and only the blobs that are not there; returns the bytes of blobs."""
    total = 0
    wanted = [digest for entry in manifests for digest in _blobs(layout, str(entry["digest"]))]
    index = {"schemaVersion": 2, "manifests": list(manifests)}
    with tarfile.open(target, "w") as tar:
        for name, text in (("oci-layout", '{"imageLayoutVersion": "1.0.0"}'), ("index.json", json.dumps(index))):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        for digest in dict.fromkeys(wanted):
            if digest in there:
                continue
            file = layout / "blobs" / digest.replace(":", "/")
            tar.add(file, f"blobs/{digest.replace(':', '/')}", recursive=False)
            total += file.stat().st_size
    return total


def _blobs(layout: Path, digest: str) -> list[str]:
    manifest = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
    return [digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]


def build_tiny_model(where: Paths) -> None:
    """The model server's wheels (compiled once, about 8 minutes on two cores) and the model's file."""
    where.wheels.mkdir(parents=True, exist_ok=True)
    if not list(where.wheels.glob("llama_cpp_python-*.whl")):
        say("compiling llama-cpp-python for the tiny model's server: about 8 min, once")
        plain = {"CMAKE_ARGS": "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF"}
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(where.wheels)]
        call([*pip, "llama-cpp-python"], timeout=3600, env=plain)
    stamp = where.wheels / ".complete"
    if not stamp.exists():
        say("fetching the tiny model server's dependencies")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(where.wheels)]
        call([*pip, "--find-links", str(where.wheels), "llama-cpp-python[server]"], timeout=1200)
        stamp.touch()
    model = where.cache / "tiny.gguf"
    if not model.exists():
        tools = where.cache / "gguf-venv"
        if not (tools / "bin/python").exists():
            call([sys.executable, "-m", "venv", str(tools)])
        call([str(tools / "bin/python"), "-m", "pip", "install", "--quiet", "gguf", "numpy"], timeout=900)
        call([str(tools / "bin/python"), str(REPOSITORY / "tests/cluster/tinymodel/make.py"), str(model)])


def import_file(where: Paths, archive: Path) -> None:
    """Load an image archive from elsewhere."""
    ctr = ["ctr", "--address", str(where.run / "containerd.sock"), "--namespace", "k8s.io"]
    done = subprocess.run(entering(where, [*ctr, "images", "import", str(archive.resolve())]), env=os.environ)
    if done.returncode != 0:
        raise ClusterError(f"containerd does not take {archive}")
