"""A server of the OpenAI wire that is as late, and as often broken, as it was told last: what a drill needs.

    PUT /mood {"milliseconds": 200, "failing": 0}      `failing`: of a hundred answers, so many break off in the middle
    POST /v1/chat/completions                          streams a few words after that time

Its standard library is all that it needs.
"""

import json
import random
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOOD = {"milliseconds": 200, "failing": 0}
WORDS = ("Good ", "evening, ", "traveller.")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        MOOD.update(json.loads(self._body()))
        self._whole(200, {"mood": MOOD})

    def do_GET(self) -> None:
        self._whole(200, {"data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        self._body()
        time.sleep(MOOD["milliseconds"] / 1000)
        breaks = random.randrange(100) < MOOD["failing"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in WORDS[: 1 if breaks else None]:
            self._event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        if breaks:
            self.close_connection = True
            return
        usage = {"prompt_tokens": 20, "completion_tokens": len(WORDS), "total_tokens": 20 + len(WORDS)}
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, part: dict[str, object]) -> None:
        said = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "tiny", **part}
        self._chunk(f"data: {json.dumps(said)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _whole(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: who talks here is nobody's business."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
