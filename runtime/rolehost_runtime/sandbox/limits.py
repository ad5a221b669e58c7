"""Walls around the tenant's processes that the kernel holds. Called in the template before any tenant code."""

import ctypes
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

MAX_FILE_BYTES = 64 * 1_048_576
MAX_PROCESSES = 128
MAX_OPEN_FILES = 256


def confine(memory_bytes: int) -> None:
    """Bound memory, files, processes and core dumps of this process and all that it forks.

    RLIMIT_NPROC counts per uid, the agent included, and does not bind root: in a pod the
    cgroup's own pid limit stands behind it.
    """
    for what, bound in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NPROC, MAX_PROCESSES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        if what == resource.RLIMIT_AS and sys.platform != "linux":
            continue
        _, hard = resource.getrlimit(what)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(what, (bound, bound))


def die_with_parent() -> None:
    """Nobody of ours outlives the agent, a worker that loops included."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def hide() -> None:
    """Others of the same user may not trace this process or write into what /proc has of it, nor into its forks."""
    _prctl(PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """What a worker leaves behind becomes this process's child, so it can be found and killed."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return  # local mode on another system: no boundary, as its banner says
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
