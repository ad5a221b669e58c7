"""As much of an apiserver as a ListWatch needs, with the faults that a real one shows rarely."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from rolehost_runtime.gateway.watch.api import Access


@dataclass
class FakeApi:
    """One collection of ConfigMaps at any path; selectors are told, not obeyed."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    version: int = 100
    oldest: int = 0
    """Watches from before this version get 410."""
    answers: list[int] = field(default_factory=list)
    """Status codes of the next requests, in place of answers."""
    requests: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    """To POST."""
    port: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _cut: asyncio.Event = field(default_factory=asyncio.Event)
    _raw: list[bytes] = field(default_factory=list)

    @property
    def access(self) -> Access:
        return Access(f"http://127.0.0.1:{self.port}", None, token="t")

    def put(self, name: str, **more: Any) -> None:
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": str(self.version)}
        self.objects[name] = {"metadata": meta, "data": {}} | more
        self._tell(kind, self.objects[name])

    def remove(self, name: str) -> None:
        self.version += 1
        gone = self.objects.pop(name)
        meta = gone["metadata"] | {"resourceVersion": str(self.version)}
        self._tell("DELETED", gone | {"metadata": meta})

    def bookmark(self) -> None:
        self.version += 1
        self._tell("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def say(self, line: bytes) -> None:
        """A line of watch that nobody should send."""
        self._raw.append(line)
        self._ring()

    def cut(self) -> None:
        """Break every open watch."""
        self._cut.set()
        self._cut = asyncio.Event()
        self._ring()

    def _tell(self, kind: str, item: dict[str, Any]) -> None:
        self.history.append((self.version, kind, item))
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.query))
        self.paths.append(request.path)
        if self.answers:
            return web.json_response({"message": "secret"}, status=self.answers.pop(0))
        if request.query.get("watch"):
            return await self._watch(request)
        names = sorted(self.objects)
        start = int(request.query.get("continue", "0"))
        page = names[start : start + int(request.query["limit"])]
        meta = {"resourceVersion": str(self.version)}
        if start + len(page) < len(names):
            meta["continue"] = str(start + len(page))
        return web.json_response({"metadata": meta, "items": [self.objects[name] for name in page]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        seen, cut = int(request.query["resourceVersion"]), self._cut
        if seen < self.oldest:
            return web.json_response({"code": 410}, status=410)
        answer = web.StreamResponse()
        await answer.prepare(request)
        while not cut.is_set():
            news = self._news
            while self._raw:
                await answer.write(self._raw.pop(0) + b"\n")
            for version, kind, item in self.history:
                if version > seen:
                    await answer.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
                    seen = version
            await news.wait()
        assert request.transport is not None
        request.transport.close()
        return answer

    async def _post(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        if self.answers:
            return web.Response(status=self.answers.pop(0))
        return web.json_response(self.reply, status=201)


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    fake = FakeApi()
    app = web.Application()
    app.router.add_get("/{path:.*}", fake._get)
    app.router.add_post("/{path:.*}", fake._post)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.port = runner.addresses[0][1]
    try:
        yield fake
    finally:
        fake.cut()
        await runner.cleanup()
