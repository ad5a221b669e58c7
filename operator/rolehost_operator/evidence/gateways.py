"""Long-polls every gateway: the answer comes when something changed, or after a while."""

import asyncio
import logging
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from rolehost_api.names import COMPONENT, GATEWAY, INTERNAL_PORT, host_port
from rolehost_api.observed import Observed
from rolehost_operator import clock
from rolehost_operator.evidence.sightings import Sightings
from rolehost_operator.kube.client import ApiError, Client
from rolehost_operator.observed import Key

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
WAIT_SECONDS = 10
"""Of a poll without news; its answer brings how many sessions there are by now."""
COUNT_SECONDS = 5.0
"""How often those are looked at whose sessions became more or fewer."""
RETRY_SECONDS = 1.0
MAX_REPORT_BYTES = 64 * 1024 * 1024
_decoder = msgspec.json.Decoder(Observed)


@dataclass(frozen=True)
class Source:
    """A gateway's pod."""

    name: str
    address: str


class Gateways:
    """`settled` is set once every gateway known at the start answered or failed: before that
    an absence of reports means nothing.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        token_file: Path | None,
        sightings: Sightings,
        ring: Callable[[Key], None],
        *,
        port: int = INTERNAL_PORT,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._token_file = token_file
        self._sightings = sightings
        self._ring = ring
        self._port = port
        self._polls: dict[Source, asyncio.Task[None]] = {}
        self._untried: set[Source] = set()
        self.settled = asyncio.Event()

    async def follow(self, everyone: Callable[[], Set[Key]]) -> None:
        """For ever. `everyone` is told when no gateway reports any more, or the first one does, or now all do."""
        timeout = aiohttp.ClientTimeout(total=WAIT_SECONDS + 10, connect=3)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            try:
                reporting, complete = 0, False
                counted = asyncio.get_running_loop().time()
                while True:
                    await self._look(session)
                    first_or_last = (reporting == 0) != (self._sightings.gateways == 0)
                    if first_or_last or (self._sightings.complete and not complete):
                        self._tell(everyone())
                    reporting, complete = self._sightings.gateways, self._sightings.complete
                    if asyncio.get_running_loop().time() - counted >= COUNT_SECONDS:
                        counted = asyncio.get_running_loop().time()
                        self._tell(self._sightings.moved())
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                for task in self._polls.values():
                    task.cancel()
                await asyncio.gather(*self._polls.values(), return_exceptions=True)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        try:
            pods, _ = await self._client.list_all("v1", "Pod", self._namespace, f"{COMPONENT}={GATEWAY}")
        except ApiError as error:
            log.warning("gateways cannot be listed: %s", error)
            return
        found = {
            Source(pod["metadata"]["name"], pod["status"]["podIP"])
            for pod in pods
            if pod.get("status", {}).get("podIP") and not pod["metadata"].get("deletionTimestamp")
        }
        for gone in self._polls.keys() - found:
            self._polls.pop(gone).cancel()
            self._tried(gone)
        for new in found - self._polls.keys():
            self._untried.add(new)
            self._polls[new] = asyncio.create_task(self._poll(session, new), name=f"gateway {new.name}")
        self._tell(self._sightings.expect({source.name for source in found}, clock.now()))
        if not self._untried:
            self.settled.set()

    async def _poll(self, session: aiohttp.ClientSession, source: Source) -> None:
        after = 0
        while True:
            try:
                report = await self._ask(session, source, after)
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
                log.warning("gateway %s does not report: %s", source.name, type(error).__name__)
                self._tell(self._sightings.missed(source.name, clock.now()))
                self._tried(source)
                after = 0
                await asyncio.sleep(RETRY_SECONDS)
                continue
            after = report.number
            self._tell(self._sightings.heard(source.name, report, clock.now()))
            self._tried(source)

    async def _ask(self, session: aiohttp.ClientSession, source: Source, after: int) -> Observed:
        url = f"http://{host_port(source.address, self._port)}/internal/v1/observed"
        # The kubelet replaces the token; it is worth something at gateways only.
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"} if self._token_file else {}
        query = {"after": str(after), "wait": str(WAIT_SECONDS)}
        async with session.get(url, params=query, headers=headers) as answer:
            answer.raise_for_status()
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MAX_REPORT_BYTES:
                    raise msgspec.ValidationError("a report is too long")
            return _decoder.decode(body)

    def _tried(self, source: Source) -> None:
        self._untried.discard(source)
        if not self._untried:
            self.settled.set()

    def _tell(self, concerned: Set[Key]) -> None:
        for key in concerned:
            self._ring(key)
