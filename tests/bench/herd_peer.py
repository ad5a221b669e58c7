"""The peer of a gateway for a herd: the same library's bare server, which reads what was missed from the same Redis.

python -m tests.bench.herd_peer PORT redis-url: no key is checked, no Role is known, nothing is owned or fenced, and
nothing can be said to it. A socket gets the session's events after `after_seq`, rendered as the platform renders them,
by redis.asyncio with a pool as it is meant to be used.
"""

import json
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from rolehost_api.identity import service_principal, session_key
from rolehost_runtime.gateway.broker.state import keys

POOL = 64
BACKLOG = 2048
"""As the gateway's; 100 by default."""


class Server:
    def __init__(self, url: str) -> None:
        self._redis = Redis(connection_pool=BlockingConnectionPool.from_url(url, max_connections=POOL, timeout=None))

    async def talk(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        asked = urlsplit(request.path)
        tenant, query = asked.path.strip("/"), parse_qs(asked.query)
        [session], [after] = query["session_id"], query["after_seq"]
        with suppress(ConnectionClosed):  # who waited too long comes again
            await self._resume(connection, tenant, session, int(after))
            await connection.wait_closed()

    async def _resume(self, connection: ServerConnection, tenant: str, session: str, after: int) -> None:
        key = keys.place(session_key(tenant, "cat", service_principal(tenant), session))
        found: Any = await self._redis.hmget(f"{key}:head", "seq", "turn")
        seq, turn = int(found[0]), int(found[1])
        head = {"session_id": session, "seq": None, "ts": 0}
        await connection.send(json.dumps({"type": "session.created", **head, "head": seq}))
        await connection.send(
            json.dumps({"type": "session.resumed", **head, "from_seq": after + 1, "to_seq": seq, "gap": False})
        )
        first = turn - (seq - after) + 1 if after < seq else turn + 1
        entries: Any = await self._redis.xrange(f"{key}:wal", f"{max(1, first)}-0", "+")
        for _, fields in entries:
            record = msgspec.msgpack.decode(fields[b"body"])
            for event in rendered(record, session):
                if int(str(event["seq"])) > after:
                    await connection.send(json.dumps(event))


def rendered(record: dict[str, object], session: str) -> list[dict[str, object]]:
    first, count = int(str(record["seq_first"])), int(str(record["seq_count"]))
    head = {"session_id": session, "ts": record["at_ms"], "replay": True}
    done = {
        "type": "response.done",
        **head,
        "seq": first + count - 1,
        "response_id": record["response_id"],
        "status": "completed",
        "message": record["reply"],
        "revision": record["revision"],
        "done": True,
    }
    state = {
        "type": "state.delta",
        **head,
        "seq": first,
        "version": record["version"],
        "patch": record.get("patch"),
    }
    return [state, done] if count == 2 else [done]


async def main(port: int, url: str) -> None:
    server = Server(url)
    async with serve(server.talk, "127.0.0.1", port, compression=None, backlog=BACKLOG, ping_interval=None) as running:
        await running.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
