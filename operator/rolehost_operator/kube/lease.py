"""Which of several operators writes: a Lease of our own, judged by our own clock.

What another wrote in the Lease about time is never compared with our clock: a holder is
dead when the Lease did not change for its duration as *we* saw it. A holder stops writing
5 s before the others may think so. Giving up on the way out hands over at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from rolehost_api.names import LEASE
from rolehost_operator.kube.client import ApiError, Client
from rolehost_operator.objects import KubeObject

log = logging.getLogger(__name__)

DURATION = 15.0
EVERY = 3.0
ROUND_SECONDS = 4.0
"""Most that one try may take: three fit before writing stops."""
MARGIN = 5.0
"""With less than this left nothing is written: a request under way must land before the lease ends."""


@dataclass
class Claim:
    """Our side of the Lease: pure, its clock is an argument.

    >>> claim = Claim("b")
    >>> other = {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": "a"}}
    >>> claim.judge(other, now=100.0), claim.judge(other, now=114.9), claim.judge(other, now=115.0)
    ('wait', 'wait', 'take')
    """

    identity: str
    held_until: float = field(default=0.0)
    _version: str = ""
    _changed_at: float = 0.0

    def judge(self, lease: KubeObject | None, now: float) -> Literal["create", "renew", "take", "wait"]:
        if lease is None:
            return "create"
        holder = lease.get("spec", {}).get("holderIdentity") or ""
        if holder == self.identity:
            return "renew"
        version = lease["metadata"]["resourceVersion"]
        if version != self._version:
            self._version, self._changed_at = version, now
        if not holder or now - self._changed_at >= DURATION:
            return "take"
        return "wait"

    def won(self, asked_at: float) -> None:
        """Counted from before the request: the apiserver may have stored it long before we heard."""
        self.held_until = asked_at + DURATION

    def lost(self) -> None:
        self.held_until = 0.0

    def may_write(self, now: float) -> bool:
        return self.held_until - now >= MARGIN


class Leadership:
    """Keeps the claim up to date; `on_change` is told when we begin and cease to lead."""

    def __init__(self, client: Client, namespace: str, claim: Claim, on_change: Callable[[bool], None]) -> None:
        self._client = client
        self._namespace = namespace
        self.claim = claim
        self._on_change = on_change
        self._leading = False

    async def keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._round()
            except TimeoutError:
                log.warning("the lease could not be kept: the apiserver did not answer")
            except ApiError as error:
                if error.http_status != 409:  # 409: another was faster
                    log.warning("the lease could not be kept: %s", error)
            self._tell(self.claim.may_write(time.monotonic()))
            await asyncio.sleep(EVERY)

    async def release(self) -> None:
        """Let the next one begin at once. Best effort: without it they wait for the duration."""
        if not self.claim.may_write(time.monotonic()):
            return
        self.claim.lost()
        try:
            # Another that took it meanwhile is safe: the replace carries the version that we read.
            lease = await self._client.get("coordination.k8s.io/v1", "Lease", self._namespace, LEASE)
            if lease and lease["spec"].get("holderIdentity") == self.claim.identity:
                await self._client.replace_lease(self._with(lease, holder=""))
        except ApiError as error:
            log.warning("the lease could not be released: %s", error)

    async def _round(self) -> None:
        lease = await self._client.get("coordination.k8s.io/v1", "Lease", self._namespace, LEASE)
        now = time.monotonic()
        verdict = self.claim.judge(lease, now)
        if verdict == "wait":
            self.claim.lost()
            return
        if lease is None:
            fresh: KubeObject = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": LEASE, "namespace": self._namespace},
            }
            await self._client.create(self._with(fresh, holder=self.claim.identity), fenced=False)
        else:
            await self._client.replace_lease(self._with(lease, holder=self.claim.identity))
        self.claim.won(now)

    def _with(self, lease: KubeObject, holder: str) -> KubeObject:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease.get("spec", {}))
        if holder and spec.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        return {
            **lease,
            "spec": {**spec, "holderIdentity": holder, "leaseDurationSeconds": int(DURATION), "renewTime": now},
        }

    def _tell(self, leading: bool) -> None:
        if leading != self._leading:
            self._leading = leading
            log.info("this operator %s", "leads" if leading else "stands by")
            self._on_change(leading)
