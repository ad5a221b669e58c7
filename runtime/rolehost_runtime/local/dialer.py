"""Instead of dialling a pod: start its agent as a process, with the link on its standard streams.

Under `runsc` where it is installed and works, with no network; else as a plain process,
which is no boundary, and the banner says so.
"""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rolehost_api.link.attestation import NO_CERTIFICATE
from rolehost_api.link.messages import Hello
from rolehost_runtime.gateway.tables import PodEntry, Table
from rolehost_runtime.local.signals import send

GRACE_SECONDS = 3.0
RUNSC = ("--rootless", "--network=none", "--ignore-cgroups", "do", "--")
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "ROLEHOST_PLUGINS")
"""Of our own environment; a model's key is not among them."""

Spawned = tuple[asyncio.subprocess.Process, Path]


async def runsc() -> tuple[str, ...]:
    """The prefix that puts a command under gVisor, or nothing where that does not work here."""
    found = shutil.which("runsc")
    if found is None:
        return ()
    for options in (RUNSC, tuple(option for option in RUNSC if option != "--rootless")):
        with contextlib.suppress(OSError, TimeoutError):
            process = await asyncio.create_subprocess_exec(
                *(found, *options, sys.executable, "-c", ""),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(20.0):
                    if await process.wait() == 0:
                        return (found, *options)
            finally:
                _kill(process)
    return ()


class ProcessDialer:
    """ports.Dialer: one agent per pod of the table; it goes when its pod leaves the table."""

    def __init__(self, pods: Table[PodEntry], public_key: bytes, scratch: Path, prefix: Sequence[str]) -> None:
        """`scratch` is a folder in which every agent gets one of its own."""
        self._pods, self._scratch, self._prefix = pods, scratch, tuple(prefix)
        self._public_key = base64.b64encode(public_key).decode()
        self._running: dict[str, Spawned] = {}
        self._ending: set[asyncio.Task[None]] = set()
        pods.listen(self._changed)

    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start the pod's agent; one that was still running is ended. Raises OSError."""
        self._end(pod.uid)
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = Path(tempfile.mkdtemp(prefix="pod-", dir=self._scratch))
        process = await asyncio.create_subprocess_exec(
            *self._prefix,
            *(sys.executable, "-m", "rolehost_runtime.sandbox", "--stdio"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environment(pod, scratch),
            start_new_session=True,
        )
        self._running[pod.uid] = (process, scratch)
        assert process.stdout is not None
        assert process.stdin is not None
        return process.stdout, process.stdin

    def attested(self, pod: PodEntry, writer: asyncio.StreamWriter, hello: Hello) -> bytes:
        """A process that we started ourselves, at the other end of a pipe that nobody else holds, is who it is."""
        return NO_CERTIFICATE

    def _environment(self, pod: PodEntry, scratch: Path) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "ROLEHOST_POD_UID": pod.uid,
            "ROLEHOST_PLATFORM_KEYS": self._public_key,
            "ROLEHOST_SCRATCH": str(scratch),
        }

    def _changed(self, key: tuple[str, ...]) -> None:
        if self._pods.get(*key) is None:
            self._end(key[0])

    def _end(self, uid: str) -> None:
        spawned = self._running.pop(uid, None)
        if spawned is not None:
            task = asyncio.ensure_future(_ended(*spawned))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End every agent and remove what it wrote."""
        for uid in tuple(self._running):
            self._end(uid)
        await asyncio.gather(*self._ending, return_exceptions=True)


async def _ended(process: asyncio.subprocess.Process, scratch: Path) -> None:
    if process.stdin is not None:
        process.stdin.close()
    send(process, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()
    _kill(process)
    await process.wait()
    await asyncio.to_thread(shutil.rmtree, scratch, True)


def _kill(process: asyncio.subprocess.Process) -> None:
    """The process and everything in its session, also where the leader is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
