"""Sandbox agents as processes of this machine, each a pod of tenant `acme`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.support.identities import make_identity, mount_keys
from tests.support.ports import free_port
from tests.support.rooms import ACME, pod_entry

from rolehost_runtime.gateway.tables import PodEntry


class Agents:
    """Sandbox agents as processes of this machine."""

    def __init__(self, folder: Path, public_key: Ed25519PublicKey) -> None:
        self._folder = folder
        self._keys = mount_keys(folder / "keys", [public_key])
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, uid: str, revision: str) -> PodEntry:
        """A pod of that revision, as the tables have it."""
        scratch = self._folder / uid
        scratch.mkdir()
        port = free_port()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "ROLEHOST_POD_UID": uid,
            "ROLEHOST_PLATFORM_KEYS_DIR": str(self._keys),
            "ROLEHOST_IDENTITY_DIR": str(make_identity(self._folder / f"{uid}-identity", ACME.uid, uid)),
            "ROLEHOST_SCRATCH": str(scratch),
        }
        self._running[uid] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rolehost_runtime.sandbox", "--listen", f"127.0.0.1:{port}",
            "--health", f"127.0.0.1:{free_port()}", env=environment, start_new_session=True,
        )  # fmt: skip
        entry = pod_entry(uid, revision=revision)
        return PodEntry(entry.tenant, uid, entry.name, entry.role, entry.revision, f"127.0.0.1:{port}")

    async def kill(self, uid: str) -> None:
        process = self._running.pop(uid)
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        for uid in tuple(self._running):
            await self.kill(uid)
