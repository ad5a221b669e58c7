"""Two gateways as processes, and one person in several sessions of them: what those share, as clients and store see it."""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.gateway_process import CLIENT_KEY
from tests.support.killing import Platform, platform
from tests.support.redis import RedisServer
from tests.support.rooms import ACME
from tests.support.surviving import Frame
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from rolehost_api import identity
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

LOGIC = """
from rolehost import Counter, Role, Set, State, Turn

class Tale(State):
    turns: int = 0

class Bond(State, scope="user"):
    mood: str = ""
    turns: Counter = 0
    met: Set = set()

cat = Role("cat", state=Tale, user_state=Bond)

@cat.on_message
async def answer(t: Turn[Tale]) -> None:
    name, _, mood = t.message.partition(" ")
    t.state.turns += 1
    t.user_state.turns += 1
    t.user_state.met.add(name)
    t.user_state.mood = mood[:20]
    await t.reply(t.ask())
    t.say(f" #{t.state.turns}/{t.user_state.turns} {','.join(sorted(t.user_state.met))}")
"""
LONG = "a story of a dragon " * 60
"""Its answer streams for most of a second."""
AUTH = {"Authorization": f"Bearer {CLIENT_KEY}"}
TAG = identity.user_tag(ACME.uid, "cat", "u-17")


class Two:
    """Two gateways, and what they keep."""

    def __init__(self, processes: Platform, store: RedisSessionStore, http: aiohttp.ClientSession) -> None:
        self.processes, self.store, self._http = processes, store, http
        self.refused: Counter[tuple[str, str]] = Counter()
        """Gateway and code."""

    def signal(self, gateway: str, how: int) -> None:
        os.kill(self.processes.gateways[gateway].pid, how)

    def socket(self, gateway: str) -> connect:
        url = f"ws://127.0.0.1:{self.processes.ports[gateway]}/role/cat"
        return connect(url, additional_headers=AUTH, subprotocols=[Subprotocol("role.v1")])

    async def say(self, gateway: str, session: str, message: str, user: str = "u-17", message_id: str = "") -> Frame:
        """Until it is answered; the same message is sent again, under its id, to a gateway that is busy or away."""
        url = f"http://127.0.0.1:{self.processes.ports[gateway]}/role/cat"
        body = {"message": message, "session_id": session, "client_msg_id": message_id or secrets.token_hex(8)}
        if user:
            body["user"] = user
        async with asyncio.timeout(60):
            while True:
                try:
                    async with self._http.post(url, json=body, headers=AUTH) as answer:
                        done: Frame = await answer.json()
                        if answer.status == 200:
                            return done
                        assert done["error"]["retryable"], done
                        self.refused[gateway, done["error"]["code"]] += 1
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.1)

    async def state(self, gateway: str, session: str, user: str = "u-17") -> Frame:
        url = f"http://127.0.0.1:{self.processes.ports[gateway]}/v1/roles/cat/sessions/{session}/state?user={user}"
        async with self._http.get(url if user else url.partition("?")[0], headers=AUTH) as answer:
            assert answer.status == 200
            found: Frame = await answer.json()
            return found

    async def kept(self) -> list[tuple[str, Any]]:
        return [(one.field, one.value) for one in await self.store.compensations(TAG, 1024)]


@asynccontextmanager
async def two_gateways(redis: RedisServer, folder: Path, ways: Mapping[str, str] | None = None) -> AsyncIterator[Two]:
    """`a` and `b`, each with a turn behind it; `ways`: how one of them gets to Redis, where that is another way."""
    async with (
        platform(redis, folder, ("a", "b"), ways=ways, logic=LOGIC) as processes,
        aiohttp.ClientSession() as http,
    ):
        store = RedisSessionStore.connect(redis.url)
        two = Two(processes, store, http)
        for gateway in ("a", "b"):
            await two.say(gateway, f"warm-{gateway}", "hello", user="")
        yield two
        await store.close()
