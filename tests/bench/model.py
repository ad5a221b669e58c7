"""A model that costs nothing: it speaks the OpenAI wire and streams a short answer at once.

python -m tests.bench.model PORT [HOST]. Without it a measurement would time the model.
"""

import json
import sys

from aiohttp import web

ANSWER = ("A dragon", " sat", " on the", " roof.")


async def complete(request: web.Request) -> web.StreamResponse:
    await request.read()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in ANSWER:
        await response.write(chunk({"delta": {"content": piece}, "finish_reason": None}))
    await response.write(chunk({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n")
    return response


def chunk(choice: dict[str, object]) -> bytes:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "instant"}
    return b"data: " + json.dumps({**head, "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def main(port: int, host: str = "127.0.0.1") -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    web.run_app(app, host=host, port=port, print=lambda *_: None)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
