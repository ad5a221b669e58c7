"""What the tenant's processes may not ask the kernel for: seccomp filters, held by Linux and by gVisor alike.

All processes of a pod run as one user, so the kernel by itself would let any of them end
or read the others. The template puts up `shared_wall` before it imports tenant code, and
every worker `worker_wall` on top. A filter cannot be taken down, and whoever forks or
execs takes it along. What is denied fails with EPERM, an ordinary OSError in Python.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF_0000
SECCOMP_RET_ERRNO = 0x0005_0000
X32_BIT = 0x4000_0000
CLONE_THREAD = 0x1_0000
AF_UNIX = 1
OWN = 0
"""The caller, where a call takes the id of a process."""

_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16

ARCHES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}


def numbered(table: str) -> dict[str, tuple[int, int]]:
    """Names of calls and their numbers in the order of ARCHES, three words a call.

    >>> numbered("kill 62 129, ptrace 101 117")
    {'kill': (62, 129), 'ptrace': (101, 117)}
    """
    rows = (row.split() for row in table.replace("\n", ",").split(",") if row.strip())
    return {name: (int(one), int(other)) for name, one, other in rows}


SIGNALS = numbered("""
    kill 62 129, tkill 200 130, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240
    pidfd_open 434 434, pidfd_send_signal 424 424, pidfd_getfd 438 438
""")
"""Ending the agent ends the pod. A process may still end itself: by exit."""
OTHER_PROCESSES = numbered("""
    ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440
    kcmp 312 272, perf_event_open 298 241, migrate_pages 256 238, move_pages 279 239
    setpriority 141 140, ioprio_set 251 30, sched_setscheduler 144 119, sched_setparam 142 118
    sched_setattr 314 274, sched_setaffinity 203 122
""")
"""Their memory, files, priority and processors."""
UNCOUNTED_MEMORY = numbered("""
    memfd_create 319 279, memfd_secret 447 447, shmget 29 194, msgget 68 186, semget 64 190, mq_open 240 180
    add_key 248 217, request_key 249 218, keyctl 250 219
""")
"""RLIMIT_AS does not see it, so it would be the pod that runs out."""
DOORS = numbered("""
    unshare 272 97, setns 308 268, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51
    open_tree 428 428, move_mount 429 429, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433
    mount_setattr 442 442, bpf 321 280, userfaultfd 323 282
    io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427
""")
"""Namespaces, mounts, and ways around a filter: nothing here needs them."""
ONLY_X86_FORKS = (57, 58)
"""fork and vfork; elsewhere libc clones."""
CLONE, CLONE3, SOCKET, PRLIMIT, FCNTL, IOCTL = (56, 220), (435, 435), (41, 198), (302, 261), (72, 25), (16, 29)
FCNTL_DENIED = (8, 10, 15, 1031)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by another way. F_SETPIPE_SZ: memory that nobody counts."""
IOCTL_DENIED = (0x5412, 0x8901, 0x8902)
"""TIOCSTI, FIOSETOWN, SIOCSPGRP."""

Instruction = tuple[int, int, int, int]
"""Code, how far to jump where the test holds and where not, operand: a `struct sock_filter`."""


def shared_wall(machine: str) -> list[Instruction]:
    """No signal to any process, no look into one, no memory outside of the limits, no socket but AF_UNIX.

    Without sockets the link's own port cannot be dialled from inside until the agent has no
    room left, and there is no way out even where no NetworkPolicy is enforced.
    """
    which = _which(machine)
    return [
        *_opening(machine),
        *_deny(pair[which] for group in (SIGNALS, OTHER_PROCESSES, UNCOUNTED_MEMORY, DOORS) for pair in group.values()),
        *_only_if(SOCKET[which], _EQUAL, AF_UNIX),
        *_only_if(PRLIMIT[which], _EQUAL, OWN),
        *_never(FCNTL[which], 1, FCNTL_DENIED),
        *_never(IOCTL[which], 1, IOCTL_DENIED),
        _allow(),
    ]


def worker_wall(machine: str) -> list[Instruction]:
    """No new process, only threads: they end with the worker, and count towards its memory.

    clone3 keeps its flags in memory, which no filter sees, so it does not exist; libc then uses clone.
    """
    which = _which(machine)
    return [
        *_opening(machine),
        *_deny(ONLY_X86_FORKS if machine == "x86_64" else ()),
        *_deny([CLONE3[which]], errno.ENOSYS),
        *_only_if(CLONE[which], _BITS, CLONE_THREAD),
        _allow(),
    ]


def install(program: list[Instruction]) -> None:
    """Put up a filter around this process, for good. Raises OSError where the kernel has none."""
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    code = ctypes.create_string_buffer(packed, len(packed))
    wanted = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(wanted), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(argument) for argument in arguments)):
            raise OSError(ctypes.get_errno(), "this kernel takes no seccomp filter")


def wall_in_template() -> None:
    if sys.platform == "linux":  # elsewhere only local mode runs: no boundary, as its banner says
        install(shared_wall(os.uname().machine))


def wall_in_worker() -> None:
    if sys.platform == "linux":
        install(worker_wall(os.uname().machine))


# ── the programs' parts ─────────────────────────────────────────────────────────────


def _which(machine: str) -> int:
    if machine not in ARCHES:
        raise OSError(errno.ENOSYS, f"no seccomp filter is written for {machine}")
    return list(ARCHES).index(machine)


def _opening(machine: str) -> list[Instruction]:
    """Leaves the call's number loaded. Calls by the numbers of another architecture are all denied."""
    other = [(_AT_LEAST, 0, 1, X32_BIT), _fail()] if machine == "x86_64" else []
    return [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, ARCHES[machine]), _fail(), (_LOAD, 0, 0, _NUMBER), *other]


def _deny(numbers: Iterable[int], error: int = errno.EPERM) -> list[Instruction]:
    return [one for number in numbers for one in ((_EQUAL, 0, 1, number), _fail(error))]


def _only_if(number: int, test: int, operand: int) -> list[Instruction]:
    """Denied unless the first argument passes the test."""
    return [(_EQUAL, 0, 4, number), _argument(0), (test, 1, 0, operand), _fail(), _allow()]


def _never(number: int, argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """Denied where the argument is one of these."""
    tests = _deny(values)
    return [(_EQUAL, 0, len(tests) + 2, number), _argument(argument), *tests, _allow()]


def _argument(index: int) -> Instruction:
    """The lower half: all arguments looked at are 32 bits wide, and both machines little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _fail(error: int = errno.EPERM) -> Instruction:
    return (_RETURN, 0, 0, SECCOMP_RET_ERRNO | error)


def _allow() -> Instruction:
    return (_RETURN, 0, 0, SECCOMP_RET_ALLOW)
