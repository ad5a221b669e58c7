"""The filters around the tenant's processes, run by a small interpreter: what they deny, and that they deny nothing else."""

import errno
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.sandbox import seccomp
from rolehost_runtime.sandbox.seccomp import (
    ARCHES,
    CLONE,
    CLONE3,
    CLONE_THREAD,
    DOORS,
    FCNTL,
    IOCTL,
    OTHER_PROCESSES,
    PRLIMIT,
    SIGNALS,
    SOCKET,
    UNCOUNTED_MEMORY,
    Instruction,
    shared_wall,
    worker_wall,
)

DENIED = SIGNALS | OTHER_PROCESSES | UNCOUNTED_MEMORY | DOORS
MACHINES = list(ARCHES)
ALLOWED = 0
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
machines = st.sampled_from(MACHINES)
words = st.integers(0, 2**32 - 1)


def asked(program: list[Instruction], arch: int, number: int, *arguments: int) -> int:
    """The error that a call gets, or ALLOWED. Ends, for jumps lead only forward."""
    data = {0: number, 4: arch} | {16 + 8 * index: value for index, value in enumerate(arguments)}
    loaded, at = 0, 0
    while True:
        code, holds, fails, operand = program[at]
        at += 1
        if code == 0x20:
            loaded = data.get(operand, 0)
        elif code == 0x06:
            assert operand & 0xFFFF_0000 in (seccomp.SECCOMP_RET_ALLOW, seccomp.SECCOMP_RET_ERRNO)
            return operand & 0xFFFF
        else:
            test = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
            at += holds if test else fails


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", DENIED)
def test_what_is_named_is_denied_with_any_arguments(machine: str, name: str) -> None:
    number = DENIED[name][MACHINES.index(machine)]
    assert asked(shared_wall(machine), ARCHES[machine], number, 0, 0) == errno.EPERM


@given(machines, st.integers(0, 1000), words, words)
def test_nothing_else_is_denied(machine: str, number: int, first: int, second: int) -> None:
    which = MACHINES.index(machine)
    judged = {pair[which] for pair in DENIED.values()} | {pair[which] for pair in (SOCKET, PRLIMIT, FCNTL, IOCTL)}
    if number not in judged:
        assert asked(shared_wall(machine), ARCHES[machine], number, first, second) == ALLOWED
    if number not in (CLONE[which], CLONE3[which], *(seccomp.ONLY_X86_FORKS if machine == "x86_64" else ())):
        assert asked(worker_wall(machine), ARCHES[machine], number, first, second) == ALLOWED


@given(machines, words, words)
def test_only_sockets_within_the_pod_and_limits_of_ones_own(machine: str, first: int, second: int) -> None:
    which, wall, arch = MACHINES.index(machine), shared_wall(machine), ARCHES[machine]
    assert (asked(wall, arch, SOCKET[which], first, second) == ALLOWED) is (first == 1)
    assert (asked(wall, arch, PRLIMIT[which], first, second) == ALLOWED) is (first == 0)
    for family, allowed in ((1, True), (2, False), (10, False), (16, False), (17, False), (38, False)):
        assert (asked(wall, arch, SOCKET[which], family) == ALLOWED) is allowed
    assert asked(wall, arch, PRLIMIT[which], 0) == ALLOWED


@given(machines, words, words)
def test_a_file_sends_no_signals_and_grows_no_pipe(machine: str, fd: int, command: int) -> None:
    which, wall, arch = MACHINES.index(machine), shared_wall(machine), ARCHES[machine]
    for value in (command, 1, 3, 8, 10, 15, 1031):
        assert (asked(wall, arch, FCNTL[which], fd, value) == ALLOWED) is (value not in seccomp.FCNTL_DENIED)
    for value in (command, 0x5401, 0x5412, 0x8901, 0x8902):
        assert (asked(wall, arch, IOCTL[which], fd, value) == ALLOWED) is (value not in seccomp.IOCTL_DENIED)


@given(machines, words)
def test_a_worker_starts_threads_and_no_processes(machine: str, flags: int) -> None:
    which, wall, arch = MACHINES.index(machine), worker_wall(machine), ARCHES[machine]
    assert (asked(wall, arch, CLONE[which], flags) == ALLOWED) is bool(flags & CLONE_THREAD)
    assert asked(wall, arch, CLONE[which], flags | CLONE_THREAD) == ALLOWED
    assert asked(wall, arch, CLONE3[which], flags) == errno.ENOSYS
    assert asked(shared_wall(machine), arch, CLONE[which], flags) == ALLOWED, "the template forks"


@given(machines, words, st.integers(0, 1000))
def test_calls_by_another_architectures_numbers_are_denied(machine: str, arch: int, number: int) -> None:
    if arch != ARCHES[machine]:
        assert asked(shared_wall(machine), arch, number) == errno.EPERM
        assert asked(worker_wall(machine), arch, number) == errno.EPERM
    if machine == "x86_64":
        assert asked(shared_wall(machine), ARCHES[machine], number | seccomp.X32_BIT) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_a_filter_is_as_short_as_kernels_take_and_jumps_as_far_as_they_can(machine: str) -> None:
    for wall in (shared_wall(machine), worker_wall(machine)):
        assert len(wall) < 4096
        assert all(0 <= jump < 256 for _, holds, fails, _ in wall for jump in (holds, fails))


def test_a_machine_without_numbers_is_refused() -> None:
    with pytest.raises(OSError, match="riscv64"):
        shared_wall("riscv64")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernels_own(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("no kernel headers here")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    numbers = {name: int(number) for name, number in found}
    which = MACHINES.index(machine)
    ours = {name: pair[which] for name, pair in DENIED.items()}
    for name, pair in (("clone", CLONE), ("clone3", CLONE3), ("socket", SOCKET), ("prlimit64", PRLIMIT)):
        ours[name] = pair[which]
    ours |= {"fcntl": FCNTL[which], "ioctl": IOCTL[which]}
    if machine == "x86_64":
        ours |= dict(zip(("fork", "vfork"), seccomp.ONLY_X86_FORKS, strict=True))
    known = {name: number for name, number in ours.items() if name in numbers}
    assert len(known) > len(ours) - 8, "headers older than a few of the calls"
    assert known == {name: numbers[name] for name in known}
