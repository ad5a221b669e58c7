"""A client of event streams, by hand: what came, and how far it was."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Listener:
    """Reads one answer as a browser's EventSource would."""

    answer: aiohttp.ClientResponse
    last_id: str = ""
    retry: int | None = None
    comments: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """The last id that was known after each event."""

    async def next(self) -> dict[str, Any] | None:
        """The next event; None where the stream ended."""
        data: list[str] = []
        while line := (await asyncio.wait_for(self.answer.content.readline(), 10)).decode():
            name, _, value = line.rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if line == "\n" and data:
                self.events.append(json.loads("\n".join(data)))
                self.ids.append(self.last_id)
                return self.events[-1]
            if line.startswith(":"):
                self.comments += 1
            elif name == "data":
                data.append(value)
            elif name == "id":
                self.last_id = value
            elif name == "retry":
                self.retry = int(value)
        return None

    async def until(self, kind: str) -> dict[str, Any]:
        while (event := await self.next()) is not None:
            if event["type"] == kind:
                return event
        raise AssertionError(f"the stream ended without {kind}: {self.types()}")

    async def rest(self) -> list[dict[str, Any]]:
        """Everything to the end of the stream."""
        while await self.next() is not None:
            pass
        return self.events

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.events if event["seq"] is not None]

    def text(self) -> str:
        return "".join(event["delta"] for event in self.events if event["type"] == "response.output_text.delta")


@asynccontextmanager
async def listening(
    url: str, key: str, *, said: dict[str, Any] | None = None, last_id: str = "", **more: Any
) -> AsyncIterator[Listener]:
    """A stream: of a message where something is `said`, else of a session."""
    headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream", **more.pop("headers", {})}
    if last_id:
        headers["Last-Event-ID"] = last_id
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1 << 21) as http:
        method = "GET" if said is None else "POST"
        async with http.request(method, url, headers=headers, json=said, **more) as answer:
            yield Listener(answer, last_id=last_id)
