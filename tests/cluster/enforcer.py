"""The agent that makes NetworkPolicies mean something on the node: watches, computes, loads the rules.

Runs inside the node's namespace. Starts closed (no pod is known, none talks), and stays as it was when the apiserver is
away: new pods remain cut off, old ones keep their rules.
"""

import asyncio
import contextlib
import logging
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from tests.cluster import policy
from tests.cluster.common import call

KINDS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
WATCH_SECONDS = 300
log = logging.getLogger("enforcer")


@dataclass
class Seen:
    """What the watches have told so far."""

    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Kind -> uid -> object; a kind is missing until its first list is whole."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def world(self) -> policy.World | None:
        """Everything as the rules need it; None until every kind was listed once."""
        if self.objects.keys() != KINDS.keys():
            return None
        pods = (policy.pod_from(manifest) for manifest in self.objects["pods"].values())
        return policy.World(
            pods=tuple(pod for pod in pods if pod is not None),
            namespaces={
                item["metadata"]["name"]: item["metadata"].get("labels") or {}
                for item in self.objects["namespaces"].values()
            },
            policies=tuple(self.objects["policies"].values()),
        )


async def follow(session: aiohttp.ClientSession, kind: str, seen: Seen) -> None:
    """List, then watch, for ever; a watch that ends or breaks starts again with a list."""
    while True:
        try:
            async with session.get(KINDS[kind]) as answer:
                answer.raise_for_status()
                listed = msgspec.json.decode(await answer.read())
            seen.objects[kind] = {item["metadata"]["uid"]: item for item in listed["items"]}
            seen.changed.set()
            async for event in watch(session, kind, listed["metadata"]["resourceVersion"]):
                item = event["object"]
                if event["type"] == "DELETED":
                    seen.objects[kind].pop(item["metadata"]["uid"], None)
                elif event["type"] in ("ADDED", "MODIFIED"):
                    seen.objects[kind][item["metadata"]["uid"]] = item
                else:
                    break
                seen.changed.set()
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            log.warning("%s: %s; listing again", kind, error)
            await asyncio.sleep(0.5)


async def watch(session: aiohttp.ClientSession, kind: str, version: str) -> AsyncIterator[dict[str, Any]]:
    """Events after `version`, one JSON object a line."""
    query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
    limits = aiohttp.ClientTimeout(total=None, sock_read=WATCH_SECONDS + 30)
    async with session.get(KINDS[kind], params=query, timeout=limits) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            yield msgspec.json.decode(line)


async def enforce(seen: Seen) -> None:
    """Load the rules after every change; several changes at once cost one load."""
    loaded = ""
    known: set[str] = set()
    while True:
        await seen.changed.wait()
        seen.changed.clear()
        world = seen.world()
        rules = policy.ruleset(world)
        if rules == loaded:
            continue
        await asyncio.to_thread(call, ["nft", "-f", "-"], feed=rules)
        loaded = rules
        addresses = {pod.address for pod in world.pods} if world else set()
        for gone in known - addresses:
            await forget(gone)
        known = addresses
        log.info("rules loaded: %d pods, %d policies", len(addresses), len(world.policies) if world else 0)


async def forget(address: str) -> None:
    """Drop the tracked connections of an address, or the next pod that gets it would inherit them."""
    for end in ("--src", "--dst"):
        process = await asyncio.create_subprocess_exec(
            "conntrack", "-D", end, address, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await process.wait()


async def run(kubeconfig: Path) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
    tls.load_cert_chain(user["client-certificate"], user["client-key"])
    seen = Seen()
    async with (
        aiohttp.ClientSession(
            cluster["server"],
            connector=aiohttp.TCPConnector(ssl=tls),
            timeout=aiohttp.ClientTimeout(total=30),
            read_bufsize=1 << 22,
        ) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for kind in KINDS:
            tasks.create_task(follow(session, kind, seen))
        tasks.create_task(enforce(seen))


def close_all() -> None:
    """The rules before anything is known: no pod sends or receives."""
    call(["nft", "-f", "-"], feed=policy.ruleset(None))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
