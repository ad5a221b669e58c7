"""A person at a keyboard: a plain WebSocket client for tests, on the bare dialect unless told otherwise."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

Frame = dict[str, Any]


class Person:
    """Says things and waits for the frame with `"done": true`, as the simplest of clients would."""

    def __init__(self, socket: ClientConnection, session_id: str | None) -> None:
        self.socket = socket
        self.session_id = session_id
        self.frames: list[Frame] = []
        """Of the newest turn."""

    def send(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame, ensure_ascii=False))

    def hear(self, timeout: float = 30) -> Frame:
        frame: Frame = json.loads(self.socket.recv(timeout))
        return frame

    def say(self, message: str, timeout: float = 60, **more: Any) -> Frame:
        """One turn: the frame that ended it, whether `response.done` or `error`."""
        self.send(message=message, **({"session_id": self.session_id} if self.session_id else {}), **more)
        self.frames = []
        while True:
            frame = self.hear(timeout)
            self.frames.append(frame)
            self.session_id = self.session_id or frame.get("session_id")
            if frame.get("done") or frame["type"] == "error":
                return frame

    def close_code(self, timeout: float = 20) -> int:
        """Hear whatever still comes, until the server closes; its close code."""
        try:
            while True:
                self.hear(timeout)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    @property
    def streamed(self) -> str:
        """The text as it came in deltas."""
        return "".join(frame["delta"] for frame in self.frames if frame["type"] == "response.output_text.delta")


@contextmanager
def talk(
    url: str,
    *,
    key: str = "",
    session_id: str | None = None,
    subprotocols: list[Subprotocol] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Person]:
    """A socket to `url` (ws://host:port/role/name), closed at the end."""
    sent = dict(headers or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    with connect(
        url, additional_headers=sent, compression=None, subprotocols=subprotocols, proxy=None, open_timeout=20
    ) as socket:
        yield Person(socket, session_id)
