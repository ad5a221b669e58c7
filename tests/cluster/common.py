"""Paths, errors and running programs: what every other module of the tool needs."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class ClusterError(Exception):
    """The tool could not do what was asked; the message says why and what to do next."""

    exit_code = 1


class Impossible(ClusterError):
    """This machine cannot run the cluster at all, whatever is built or retried."""

    exit_code = 3


@dataclass(frozen=True)
class Paths:
    """Where the tool keeps things. The cache survives `down`; the run folder does not."""

    cache: Path

    @property
    def bin(self) -> Path:
        return self.cache / "bin"

    @property
    def images(self) -> Path:
        return self.cache / "images"

    @property
    def wheels(self) -> Path:
        return self.cache / "wheels"

    @property
    def run(self) -> Path:
        return self.cache / "run"

    @property
    def log(self) -> Path:
        return self.run / "log"

    @property
    def kubeconfig(self) -> Path:
        """For programs outside of the node's namespace, by way of the relay."""
        return self.run / "kubeconfig"

    def tool(self, name: str) -> str:
        return str(self.bin / name)


def paths() -> Paths:
    """The cache folder: $ROLEHOST_CACHE, else ~/.cache/rolehost/cluster.

    Never below /tmp: gVisor mounts over it, and the programs would vanish under their own feet.
    """
    cache = Path(os.environ.get("ROLEHOST_CACHE") or Path.home() / ".cache/rolehost/cluster").resolve()
    if cache.is_relative_to("/tmp"):
        raise ClusterError(f"the cluster cannot live in {cache}: gVisor mounts over /tmp; set ROLEHOST_CACHE elsewhere")
    return Paths(cache)


def say(text: str) -> None:
    """One line of progress, at once: builds take minutes and silence looks like a hang."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def alone(where: Paths) -> Iterator[None]:
    """Only one at a time may change the node or the cache; a second one waits, and says so."""
    where.cache.mkdir(parents=True, exist_ok=True)
    with (where.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run of this tool to finish …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def call(
    argv: Sequence[str],
    *,
    feed: str | None = None,
    timeout: float = 120,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return what it printed; if it fails, its last lines are the error."""
    try:
        done = subprocess.run(
            list(argv),
            input=feed,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
        )
    except FileNotFoundError:
        raise ClusterError(f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(argv[:6])} took more than {timeout:.0f} s") from None
    if done.returncode != 0:
        told = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise ClusterError(f"{' '.join(argv[:8])} failed with {done.returncode}:\n{told}")
    return done.stdout


def write(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a file if it does not hold this text yet; says whether it wrote."""
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)
    return True
