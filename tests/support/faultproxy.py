"""Between one client and the apiserver: all that a network and a bad day can do to the requests.

An HTTP proxy in a thread of its own. It speaks to the apiserver as the user it was made
for, so every client has one of its own and what each asked for is told apart. It sees
requests and watch events, so it can answer 429, swallow what happened in a gap, or kill
the client at its third write.
"""

import asyncio
import json
import random
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from tests.support.apiserver import ApiServer
from tests.support.ports import free_port

HOP_BY_HOP = {"authorization", "connection", "content-length", "host", "transfer-encoding", "keep-alive"}


@dataclass
class Asked:
    """One request; `status` 0 until it was answered."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    status: int = 0

    @property
    def write(self) -> bool:
        """A write of anything but the Lease, by which operators only say that they live."""
        return self.method != "GET" and "/leases" not in self.path and not self.path.endswith("reviews")

    @property
    def watch(self) -> bool:
        return "watch" in self.query

    @property
    def name(self) -> str:
        """The last word of the path: a plural for listings and watches."""
        return self.path.rpartition("/")[2]


@dataclass
class Refusal:
    """What is answered in the apiserver's place to a share of the requests that `of` picks."""

    of: Callable[[Asked], bool]
    status: int
    share: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)


class FaultProxy:
    def __init__(self, api: ApiServer, user: str, groups: tuple[str, ...] = (), seed: int = 1) -> None:
        self._api = api
        crt, key = api.authority.issue(user, groups)
        self._tls = ssl.create_default_context(cafile=str(api.authority.file))
        self._tls.load_cert_chain(crt, key)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.kubeconfig: Path = crt.with_suffix(".proxied.kubeconfig")
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "proxied", "cluster": {"server": self.url}}],
                    "users": [{"name": user, "user": {"token": "the-proxy-knows-who"}}],
                    "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": user}}],
                    "current-context": "proxied",
                }
            )
        )
        self.asked: list[Asked] = []
        self.refusals: list[Refusal] = []
        self.swallow: set[str] = set()
        """Plurals whose watch events are lost on the way; bookmarks too."""
        self.before_write: Callable[[int], bool] = lambda number: True
        """Called in the proxy's thread with the write's number; False: the apiserver never hears of it."""
        self.after_write: Callable[[int], object] = lambda number: None
        """The same, after the apiserver answered and before the client hears it."""
        self._random = random.Random(seed)
        self._writes = 0
        self._streams: dict[str, dict[int, web.StreamResponse]] = {}
        self._open: dict[int, web.Request] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        self._call(self._start())

    # ── what a test does ────────────────────────────────────────────────────────────

    def requests(self, of: Callable[[Asked], bool], since: float = 0.0) -> list[Asked]:
        return [asked for asked in list(self.asked) if asked.at >= since and of(asked)]

    def writes(self, namespace: str = "", since: float = 0.0) -> list[Asked]:
        """In one namespace; the apiserver is the whole session's, and so are the Roles of earlier tests."""
        return self.requests(lambda asked: asked.write and (not namespace or f"/{namespace}/" in asked.path), since)

    def blackhole(self) -> None:
        """Connections stand and are accepted, and no byte comes through any more."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def reset(self) -> None:
        """Every open connection ends by RST."""
        self._loop.call_soon_threadsafe(self._reset)

    def tell(self, plural: str, event: dict[str, Any]) -> int:
        """Put an event into every open watch of this plural; how many there were."""
        return int(self._call(self._tell(plural, event)))

    def bookmark(self, plural: str, api_version: str, kind: str, version: str) -> int:
        meta = {"resourceVersion": version}
        return self.tell(
            plural, {"type": "BOOKMARK", "object": {"apiVersion": api_version, "kind": kind, "metadata": meta}}
        )

    def gone(self, plural: str) -> int:
        """The watch's place in history is forgotten."""
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
        return self.tell(plural, {"type": "ERROR", "object": status})

    def close(self) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # ── the proxy ───────────────────────────────────────────────────────────────────

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),
        )
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _stop(self) -> None:
        self._flowing.set()
        self._reset()
        await self._runner.cleanup()
        await self._http.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _reset(self) -> None:
        for request in tuple(self._open.values()):
            if request.transport is not None:
                request.transport.abort()

    async def _tell(self, plural: str, event: dict[str, Any]) -> int:
        streams = tuple(self._streams.get(plural, {}).values())
        for stream in streams:
            await stream.write(json.dumps(event).encode() + b"\n")
        return len(streams)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(time.monotonic(), request.method, request.path, dict(request.query))
        self.asked.append(asked)
        self._open[id(request)] = request
        try:
            await self._flowing.wait()
            for refusal in self.refusals:
                if refusal.of(asked) and self._random.random() < refusal.share:
                    asked.status = refusal.status
                    said = {"kind": "Status", "apiVersion": "v1", "code": refusal.status, "reason": "Injected"}
                    return web.json_response(said, status=refusal.status, headers=refusal.headers)
            number = 0
            if asked.write:
                self._writes += 1
                number = self._writes
                if not self.before_write(number):
                    return web.Response(status=503)
            return await self._forward(request, asked, number)
        finally:
            self._open.pop(id(request))

    async def _forward(self, request: web.Request, asked: Asked, number: int) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            async with self._http.request(
                request.method,
                self._api.url + request.path_qs,
                data=await request.read() or None,
                headers=headers,
                skip_auto_headers=["Content-Type"],
            ) as answer:
                asked.status = answer.status
                passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                if asked.watch and answer.status == 200:
                    return await self._stream(request, asked.name, passed, answer)
                body = await answer.read()
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None
        if number:
            self.after_write(number)
        await self._flowing.wait()
        return web.Response(status=answer.status, body=body, headers=passed)

    async def _stream(
        self, request: web.Request, plural: str, headers: dict[str, str], answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        stream = web.StreamResponse(headers=headers)
        await stream.prepare(request)
        streams = self._streams.setdefault(plural, {})
        streams[id(stream)] = stream
        try:
            async for line in _lines(answer):
                await self._flowing.wait()
                if plural not in self.swallow:
                    await stream.write(line + b"\n")
        finally:
            streams.pop(id(stream))
        return stream


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
