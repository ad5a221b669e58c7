"""Gateways' link pools in a process of their own, so that what they take in memory is theirs alone.

    python -m tests.support.storm    # commands on stdin, answers on stdout, a line of JSON each

The first line says what there is: `{"key": <hex>, "gateways": ["a", …], "bundles": [[tenant, digest], …],
"bundle_bytes": n}`. Then: `pods` (uid, bundle's number, port, ready), `stop` and `start` one gateway, `picture`.
"""

import asyncio
import hashlib
import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rolehost_api.canonical import HASH_VERSION, template_hash
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import Logic, Persona, RoleSpec, RoleTemplate
from rolehost_api.link.attestation import NO_CERTIFICATE
from rolehost_api.link.messages import Hello
from rolehost_api.names import revision_name
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Tables, Tenant


class Dialer:
    """ports.Dialer over TCP."""

    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = pod.address.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    def attested(self, pod: PodEntry, writer: asyncio.StreamWriter, hello: Hello) -> bytes:
        return NO_CERTIFICATE


class Shop:
    """ports.Bundles: every fetch gives bytes of its own, as one over HTTP does."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.fetches = 0

    async def fetch(self, tenant: Tenant, digest: str) -> bytes:
        self.fetches += 1
        await asyncio.sleep(0.01)
        return hashlib.shake_128(f"{tenant.uid}/{digest}".encode()).digest(self._size)


class Storm:
    def __init__(self, said: dict[str, Any]) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(said["key"]))
        self._gateways: list[str] = said["gateways"]
        self._shop = Shop(said["bundle_bytes"])
        self._pools: dict[str, LinkPool] = {}
        self._revisions = [_revision(Tenant(tenant, f"uid-{tenant}"), digest) for tenant, digest in said["bundles"]]
        self._tables = {name: self._filled() for name in self._gateways}
        self._baseline = _peak_bytes()

    def _filled(self) -> Tables:
        tables = Tables()
        for revision in self._revisions:
            spec = RoleSpec(template=revision.spec.template)
            role = RoleEntry(revision.tenant, revision.spec.role_name, spec, revision.name)
            tables.roles.put((role.tenant.name, role.name), role)
            tables.revisions.put((revision.tenant.name, revision.name), revision)
        return tables

    def pods(self, pods: list[tuple[str, int, int, bool]]) -> None:
        for uid, number, port, ready in pods:
            of = self._revisions[number]
            address = f"127.0.0.1:{port}"
            pod = PodEntry(of.tenant, uid, uid, of.spec.role_name, of.name, address, ready=ready)
            for tables in self._tables.values():
                tables.pods.put((uid,), pod)

    async def start(self, *names: str) -> None:
        """These gateways, with nothing in memory but the tables; the others hear of it."""
        for name in names:
            self._pools[name] = LinkPool(
                self._tables[name], Dialer(), self._shop, self._key, lambda: time.time_ns() // 1_000_000, name,
                me=name, members=lambda: tuple(self._pools),
            )  # fmt: skip
        for name, pool in self._pools.items():
            if name in names:
                await pool.start()
            else:
                pool.members_changed()

    async def stop(self, *names: str) -> None:
        gone = [self._pools.pop(name) for name in names]
        for pool in self._pools.values():
            pool.members_changed()
        for pool in gone:
            await pool.stop()

    async def picture(self) -> dict[str, Any]:
        pictures = {name: await pool.observed(-1, 0) for name, pool in self._pools.items()}
        return {
            "loaded": {name: sum(pod.loaded for pod in seen.pods) for name, seen in pictures.items()},
            "linked": {name: len(pool._links) for name, pool in self._pools.items()},
            "fetches": self._shop.fetches,
            "baseline_bytes": self._baseline,
            "peak_bytes": _peak_bytes(),
        }


def _revision(tenant: Tenant, digest: str) -> RevisionEntry:
    role = f"role-{digest[-8:]}"
    template = RoleTemplate(persona=Persona(system="You are."), logic=Logic(bundle=digest, entrypoint="a:a"))
    content = template_hash(template, {})
    spec = RevisionSpec(role_name=role, sequence=1, hash_version=HASH_VERSION, hash=content, template=template)
    return RevisionEntry(tenant, revision_name(role, content), spec)


def _peak_bytes() -> int:
    """The most that this process ever had in memory. On Linux not from getrusage, which begins with the parent's."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    storm = Storm(json.loads(await reader.readline()))
    while line := await reader.readline():
        match json.loads(line):
            case ["pods", *pods]:
                storm.pods(pods)
            case ["start", *names]:
                await storm.start(*names)
            case ["stop", *names]:
                await storm.stop(*names)
            case ["picture"]:
                print(json.dumps(await storm.picture()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
