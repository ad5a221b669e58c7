"""The way outside, put together from what the platform's operators decided."""

import asyncio
import time
from dataclasses import dataclass

from rolehost_runtime.core.reach.addresses import Reachable
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.reach.client import Client
from rolehost_runtime.gateway.broker.reach.dialing import Dialing
from rolehost_runtime.gateway.broker.reach.limits import PER_MINUTE, PER_ROLE, Bounds
from rolehost_runtime.gateway.broker.reach.lookup import Lookup
from rolehost_runtime.gateway.broker.reach.metrics import ReachSink
from rolehost_runtime.gateway.broker.reach.service import ReachService
from rolehost_runtime.gateway.broker.reach.toolbox import McpToolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachSettings:
    enabled: bool = True
    allowed_cidrs: tuple[str, ...] = ()
    """Networks that are not public, and reached all the same."""
    refused_cidrs: tuple[str, ...] = ()
    """Public ones that are not reached."""
    per_minute: int = PER_MINUTE
    per_role: int = PER_ROLE


@dataclass(frozen=True, slots=True)
class Outside:
    client: Client | None
    """None: it is switched off."""
    web: ReachService | None
    toolbox: McpToolbox | None
    lookup: Lookup

    @classmethod
    def of(cls, settings: ReachSettings, sink: ReachSink, keys: KeyRing) -> "Outside":
        """`keys` are those of tool servers. Raises ValueError for what is no network."""
        lookup = Lookup()
        if not settings.enabled:
            return cls(None, None, None, lookup)
        client = Client(Dialing(Reachable.of(settings.allowed_cidrs, settings.refused_cidrs), lookup))
        bounds = Bounds(time.monotonic, settings.per_role, settings.per_minute)
        toolbox = McpToolbox(client, bounds, keys, time.monotonic, sink)
        return cls(client, ReachService(client, bounds, sink), toolbox, lookup)

    async def close(self) -> None:
        if self.toolbox is not None:
            await self.toolbox.close()
        await asyncio.to_thread(self.lookup.close)
