"""A model server that takes next to nothing: it speaks the OpenAI wire from bytes that were made before.

python -m tests.bench.stream_model PORT. A path that ends in /paced/v1/… sends each chunk by itself, a few thousand a second and
stream; any other sends all of them as fast as they are read.
"""

import asyncio
import json
import sys

CHUNKS = 400
PAUSE_SECONDS = 0.002
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(choice: dict[str, object]) -> bytes:
    """As OpenAI's own are, some 200 bytes."""
    body = {
        "id": "chatcmpl-C0ffeeC0ffeeC0ffeeC0ffee",
        "object": "chat.completion.chunk",
        "created": 1764172800,
        "model": "instant-2026-11-26",
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": [{"index": 0, **choice, "logprobs": None}],
    }
    data = b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


BEGIN = event({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
PIECES = [event({"delta": {"content": f" word{n % 10}"}, "finish_reason": None}) for n in range(CHUNKS)]
END = event({"delta": {}, "finish_reason": "stop"}) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
            await reader.readexactly(length)
            writer.write(HEAD + BEGIN)
            if b"/paced/" in lines[0]:
                for piece in PIECES:
                    await asyncio.sleep(PAUSE_SECONDS)
                    writer.write(piece)
            else:
                writer.write(b"".join(PIECES))
            writer.write(END)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
