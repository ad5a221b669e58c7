"""Images: built by buildah on a base made with mmdebstrap, loaded straight into the node's containerd.

Everything is cached by what went into it, and of an edited image only the code layer is made anew (see layout).
"""

import hashlib
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import config
from tests.cluster.common import REPOSITORY, ClusterError, Paths, call, say, write
from tests.cluster.layout import Layout, code_layer
from tests.cluster.namespace import in_namespace

SUITE, INCLUDE = "bookworm", "python3,python3-venv,ca-certificates"
HERE = Path(__file__).parent
CONTAINERFILES = HERE / "containerfiles"
RECIPES = (
    "Containerfile",
    "tests/cluster/requirements.py",
    "tests/cluster/trees.py",
    "runtime/rolehost_api/__init__.py",  # where the wheel's version is read from
)
"""Of a working tree: what decides an image beside its code and pyproject.toml."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
WHOLE = "whole-"
"""Prefix of the tag, in the layout, of an image as its Containerfile made it, before its code is swapped; after it
comes the hash of what it was made of, so that two versions of the platform share what they have in common."""
KEPT_WHOLES = 3


@dataclass(frozen=True)
class Image:
    """An image that the node needs."""

    name: str
    """As pods name it, tag included."""
    target: str = ""
    """Target in the platform's Containerfile; empty for the tool's own images."""
    source: Path = REPOSITORY
    """The platform's working tree that a target is built from."""
    inputs: tuple[str, ...] = ()
    """What its own Containerfile copies: files of the cache or of the machine."""
    based: bool = False
    """Whether it stands on the Debian base."""

    @property
    def short(self) -> str:
        return self.name.removeprefix("localhost/").split(":")[0]


PAUSE = Image(config.PAUSE_IMAGE, inputs=("/bin/busybox",))
COREDNS = Image("localhost/coredns:1", inputs=("bin/coredns",))
REDIS = Image("localhost/redis:7", based=True)
TINY_MODEL = Image("localhost/tinymodel:1", inputs=("wheels", "tiny.gguf"), based=True)
MONITORING = Image("localhost/monitoring:1", inputs=("bin/otelcol", "bin/jaeger"), based=True)


def platform(source: Path, tag: str) -> tuple[Image, ...]:
    """The platform's images, built from a working tree."""
    return tuple(
        Image(f"localhost/rolehost-{name}:{tag}", target=name, source=source)
        for name in ("runtime", "sandbox", "operator")
    )


PLATFORM = platform(REPOSITORY, "dev")
EMBEDDER = Image("localhost/rolehost-embedder:dev", target="embedder")
ALL = {image.short: image for image in (PAUSE, COREDNS, REDIS, *PLATFORM, EMBEDDER, TINY_MODEL, MONITORING)}


def buildah(where: Paths, *argv: str, timeout: float = 900) -> str:
    """buildah with a store of our own: the machine's other images are none of our business.

    On some kernels its copy of itself now and then fails to be sealed, before anything was done: that is tried again.
    """
    store = ("--root", str(where.cache / "containers"), "--runroot", str(where.cache / "containers-run"))
    for _ in range(4):
        try:
            return call(["buildah", *store, *argv], timeout=timeout)
        except ClusterError as error:
            if "sealing memfd copy" not in str(error):
                raise
            failed = error
    raise failed


def minutes(where: Paths) -> float:
    """How long the images that were never built take, the model server's compilation included."""
    there = _layout(where).names()
    return 8.0 * (not _compiled(where)) + 0.7 * sum(image.name not in there for image in ALL.values())


def release(where: Paths) -> None:
    """buildah leaves its store mounted on itself."""
    overlay = f"{where.cache}/containers/overlay"
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1] == overlay:
            call(["umount", overlay])


def base(where: Paths) -> str:
    """The Debian base, made once: 40 s, then never again until its contents are named differently."""
    mark = hashlib.sha256(f"{SUITE} {INCLUDE}".encode()).hexdigest()[:12]
    name = f"localhost/rolehost-base:{mark}"
    if name in buildah(where, "images", "--format", "{{.Name}}:{{.Tag}}").split():
        return name
    where.images.mkdir(parents=True, exist_ok=True)
    say(f"making the base image from Debian {SUITE}: about 40 s")
    archive = where.images / f"base-{mark}.tar"
    call(["mmdebstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, str(archive)], timeout=900)
    container = buildah(where, "from", "scratch").strip()
    try:
        buildah(where, "add", "--quiet", container, str(archive))
        buildah(where, "commit", "--quiet", container, name)
    finally:
        buildah(where, "rm", container)
        archive.unlink()
    return name


def ensure(where: Paths, wanted: Sequence[Image]) -> bool:
    """Bring images up to date and give them to the node; says whether the node got anything new."""
    for image in wanted:
        build(where, image)
    return load(where, wanted)


def build(where: Paths, image: Image) -> None:
    """Bring one image up to date in the layout."""
    where.images.mkdir(parents=True, exist_ok=True)
    layout, own = _layout(where), f"localhost/{image.short}:{WHOLE}"
    whole = own + _mark(where, image)[:12]
    if whole not in layout.names():
        _build_whole(where, image, whole)
        for outdated in [name for name in layout.names() if name.startswith(own)][:-KEPT_WHOLES]:
            layout.forget(outdated)
    manifest = layout.names()[whole]
    if image.target:
        last = layout.read(manifest["digest"])["layers"][-1]
        manifest = layout.with_last_layer(manifest, code_layer(image.source, image.target, layout.blob(last["digest"])))
    layout.name(image.name, manifest)


def _layout(where: Paths) -> Layout:
    return Layout(where.images / "layout")


def _mark(where: Paths, image: Image) -> str:
    """Hash of everything but code that goes into an image."""
    if image.target:
        project = tomllib.loads((image.source / "pyproject.toml").read_text())
        given = [repr(project["project"]), repr(project["build-system"])]
        given += [(image.source / name).read_text() for name in RECIPES]
    else:
        given = [(CONTAINERFILES / f"{image.short}.Containerfile").read_text()]
        for name in image.inputs:
            source = where.cache / name
            if not source.exists():
                raise ClusterError(f"{source} is missing: it is made before the image {image.name} can be")
            for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
                about = file.stat()
                given.append(f"{file.name} {about.st_size} {about.st_mtime_ns}")
    given.append(f"{SUITE} {INCLUDE}" if image.target or image.based else "")
    return hashlib.sha256("\n".join(given).encode()).hexdigest()


def _build_whole(where: Paths, image: Image, name: str) -> None:
    """Build from the Containerfile and copy into the layout, uncompressed: it never leaves this machine."""
    began = time.monotonic()
    say(f"  building {image.name} …")
    with context(where, image) as (recipe, folder):
        _bud(where, image, recipe, folder)
    store = f"[overlay@{where.cache}/containers+{where.cache}/containers-run]"
    copy = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
    call([*copy, f"containers-storage:{store}{image.name}", f"oci:{where.images}/layout:{name}"], timeout=600)
    say(f"  {image.name} built in {time.monotonic() - began:.1f} s")


@contextmanager
def context(where: Paths, image: Image) -> Iterator[tuple[Path, Path]]:
    """An image's Containerfile and the folder that it copies from."""
    if image.target:
        yield image.source / "Containerfile", image.source
        return
    where.images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.images) as folder:
        for given in image.inputs:
            source = where.cache / given
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, Path(folder) / source.name)
        yield CONTAINERFILES / f"{image.short}.Containerfile", Path(folder)


def _bud(where: Paths, image: Image, recipe: Path, folder: Path) -> None:
    """One Containerfile to one image in the store.

    The machine's CA certificates serve the build, which may sit behind a proxy with one of its own, but they stay out
    of the image.
    """
    argv = ["bud", "--quiet", "--isolation", "chroot", "--layers", "--format", "oci", "--tag", image.name]
    argv += ["--file", str(recipe)]
    argv += ["--target", image.target] if image.target else []
    if image.target or image.based:
        argv += ["--build-arg", f"BASE={base(where)}"]
        if CERTIFICATES.exists():
            argv += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    buildah(where, *argv, str(folder))


def load(where: Paths, wanted: Sequence[Image]) -> bool:
    """Give images of the layout to the node, in one import; says whether any was new to it."""
    began = time.monotonic()
    ctr = ["ctr", "--address", str(where.run / "containerd.sock"), "--namespace", "k8s.io"]
    there = set(in_namespace(where, [*ctr, "content", "ls", "--quiet"]).split())
    archive = where.run / "load.tar"
    try:
        sent = _layout(where).archive([image.name for image in wanted], there, archive)
        in_namespace(where, [*ctr, "images", "import", str(archive)], timeout=300)
    finally:
        archive.unlink(missing_ok=True)
    _layout(where).prune()
    names = ", ".join(image.short for image in wanted)
    if sent:
        say(f"  loaded {names} ({sent / 1e6:.1f} MB new) in {time.monotonic() - began:.1f} s")
    return sent > 0


def import_file(where: Paths, archive: Path) -> None:
    """Load an image archive made elsewhere."""
    ctr = ["ctr", "--address", str(where.run / "containerd.sock"), "--namespace", "k8s.io"]
    in_namespace(where, [*ctr, "images", "import", str(archive.resolve())], timeout=300)


def also_named(where: Paths, name: str, other: str) -> str:
    """An image of the node under another name too: nothing is built or copied. Returns `other`."""
    ctr = ["ctr", "--address", str(where.run / "containerd.sock"), "--namespace", "k8s.io"]
    in_namespace(where, [*ctr, "images", "tag", "--force", name, other])
    return other


def _compiled(where: Paths) -> bool:
    return any(where.wheels.glob("llama_cpp_python-*.whl"))


def make_tiny_model(where: Paths) -> None:
    """The model server's wheels (compiled once, about 8 minutes on two cores) and the model's file."""
    where.wheels.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheels = [*pip, "wheel", "--wheel-dir", str(where.wheels), "--find-links", str(where.wheels)]
    if not _compiled(where):
        say("compiling llama-cpp-python for the tiny model's server: about 8 min, once")
        portable = {"CMAKE_ARGS": "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF"}
        call([*wheels, "--no-deps", "llama-cpp-python"], timeout=3600, env=portable)
    if not list(where.wheels.glob("starlette-*.whl")):
        say("fetching what the tiny model's server needs")
        call([*wheels, "llama-cpp-python[server]"], timeout=1200)
    recipe, model, stamp = HERE / "tinymodel/make.py", where.cache / "tiny.gguf", where.cache / ".tiny.gguf.stamp"
    mark = hashlib.sha256(recipe.read_bytes()).hexdigest()
    if not model.exists() or not stamp.exists() or stamp.read_text() != mark:
        tools = where.cache / "gguf-venv"
        call([sys.executable, "-m", "venv", "--clear", str(tools)])
        call([str(tools / "bin/python"), "-m", "pip", "--quiet", "install", "gguf", "numpy"], timeout=900)
        call([str(tools / "bin/python"), str(recipe), str(model)])
        write(stamp, mark)
