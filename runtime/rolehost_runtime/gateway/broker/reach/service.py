"""Requests of role logic: granted, paced, carried out and counted. Implements ports.Web."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import Fetch, Fetched
from rolehost_runtime.core.reach import grants, headers, intent
from rolehost_runtime.core.reach.hops import Request
from rolehost_runtime.core.reach.urls import parse
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.broker.reach import failures
from rolehost_runtime.gateway.broker.reach.client import Client, Traffic
from rolehost_runtime.gateway.broker.reach.limits import Bounds
from rolehost_runtime.gateway.broker.reach.metrics import NoReachSink, ReachSink
from rolehost_runtime.gateway.tables import RoleEntry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReachService:
    client: Client
    bounds: Bounds
    sink: ReachSink = field(default_factory=NoReachSink)

    async def fetch(self, role: RoleEntry, permissions: Sequence[str], asked: Fetch, key: str = "") -> Fetched:
        loop = asyncio.get_running_loop()
        began, traffic = loop.time(), Traffic()
        answer = Fetched(index=asked.index, error=failures.broken().code)
        try:
            answer = await self._fetch(role, permissions, asked, key, traffic)
        except RolehostError as error:
            answer = Fetched(index=asked.index, error=error.code)
        except Exception as error:
            faults.internal(log, "a request to a server outside", error)
        finally:
            outcome = answer.error or f"{answer.status // 100}xx"
            took = loop.time() - began
            self.sink.request(role.tenant.name, role.name, outcome, took, traffic.sent, traffic.received)
        return answer

    async def _fetch(
        self, role: RoleEntry, permissions: Sequence[str], asked: Fetch, key: str, traffic: Traffic
    ) -> Fetched:
        request = Request(asked.method, parse(asked.url), headers.checked(asked.headers), asked.body)
        if not grants.granted(permissions, request.target):
            raise failures.not_granted()
        if key and not headers.has(request.headers, intent.HEADER.lower()):
            request = Request(request.method, request.target, (*request.headers, (intent.HEADER, key)), request.body)
        self.bounds.pace(role.tenant.uid)
        waiting = True
        try:
            async with asyncio.timeout(asked.timeout_ms / 1000), self.bounds.room(role.tenant.uid, role.name):
                waiting = False
                async with self.client.ask(
                    request, role.tenant.uid, lambda target: grants.granted(permissions, target), traffic
                ) as found:
                    body = await found.whole()
                    return Fetched(
                        index=asked.index,
                        status=found.status,
                        headers=tuple(found.headers),
                        body=body,
                        url=found.target.url,
                    )
        except TimeoutError:
            raise (failures.busy() if waiting else failures.too_slow()) from None
