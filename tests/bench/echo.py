"""The peer of a Role: the barest server of the same protocol and the same library, which answers at once.

python -m tests.bench.echo PORT: every message gets one delta and one `done`, and nothing
is checked, routed, run or stored. What a Role costs above it is the platform.
"""

import asyncio
import json
import sys

from websockets.asyncio.server import ServerConnection, serve


async def answer(connection: ServerConnection) -> None:
    async for message in connection:
        said = json.loads(message)
        head = {"session_id": said.get("session_id"), "seq": None, "ts": 0, "response_id": "r1"}
        await connection.send(json.dumps({"type": "response.output_text.delta", **head, "offset": 0, "delta": "yes"}))
        await connection.send(json.dumps({"type": "response.done", **head, "done": True, "message": "yes"}))


async def main(port: int) -> None:
    async with serve(answer, "127.0.0.1", port, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
