"""A server of the Model Context Protocol, over streamable HTTP, that plays by its rules or not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass
class McpServer:
    streams: bool = False
    """It answers with event streams, a ping and a notification before the answer, and leaves them open."""
    sessions: bool = False
    version: str = "2025-06-18"
    pages: int = 1
    tools: list[Any] = field(
        default_factory=lambda: [{"name": "forecast", "description": "Rain?", "inputSchema": SCHEMA}]
    )
    pause: float = 0.0
    url: str = ""
    heard: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    """(method, headers, params)"""
    open_sessions: set[str] = field(default_factory=set)

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.heard]

    async def post(self, request: web.Request) -> web.StreamResponse:
        said = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append((said["method"], headers, said.get("params")))
        assert {"application/json", "text/event-stream"} <= set(headers["accept"].split(", "))
        if said["method"] != "initialize":
            assert headers["mcp-protocol-version"] == self.version
            if self.sessions and headers.get("mcp-session-id") not in self.open_sessions:
                return web.Response(status=404)
        if "id" not in said:
            return web.Response(status=202)
        told: dict[str, str] = {}
        if said["method"] == "initialize" and self.sessions:
            told["Mcp-Session-Id"] = f"s{len(self.heard)}"
            self.open_sessions.add(told["Mcp-Session-Id"])
        answer = {"jsonrpc": "2.0", "id": said["id"], **await self.answer(said["method"], said.get("params") or {})}
        if not self.streams:
            return web.json_response(answer, headers=told)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", **told})
        await stream.prepare(request)
        for one in (
            {"jsonrpc": "2.0", "id": 99, "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/message"},
            answer,
        ):
            await stream.write(f"event: message\ndata: {json.dumps(one)}\n\n".encode())
        await asyncio.sleep(30)
        return stream

    async def delete(self, request: web.Request) -> web.Response:
        self.open_sessions.discard(request.headers.get("Mcp-Session-Id", ""))
        return web.Response(status=204)

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "initialize":
                return {"result": {"protocolVersion": self.version, "capabilities": {"tools": {}}, "serverInfo": {}}}
            case "tools/list":
                page = int(params.get("cursor", "0"))
                more = {"nextCursor": str(page + 1)} if page + 1 < self.pages else {}
                return {"result": {"tools": self.tools if not page else [{"name": f"page{page}"}], **more}}
            case "tools/call":
                await asyncio.sleep(self.pause)
                city = params["arguments"].get("city")
                if city is None:
                    return {"error": {"code": -32602, "message": "a secret of the server"}}
                failed = city == "Atlantis"
                said = "There is no such city." if failed else f"Rain in {city}."
                return {"result": {"content": [{"type": "text", "text": said}], "isError": failed}}
        return {"error": {"code": -32601, "message": "no such method"}}


@asynccontextmanager
async def mcp_serving(**how: Any) -> AsyncIterator[McpServer]:
    server = McpServer(**how)
    app = web.Application()
    app.router.add_post("/mcp", server.post)
    app.router.add_delete("/mcp", server.delete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    try:
        yield server
    finally:
        await runner.cleanup()
