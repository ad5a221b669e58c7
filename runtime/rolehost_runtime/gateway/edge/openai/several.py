"""Several answers to one message, in one stream. Pure."""

import hashlib

from rolehost_api import wire
from rolehost_runtime.gateway.edge.openai.replies import DONE, Chunks, Head, failure, usage_of


def branch_name(session_id: str, client_msg_id: str, at_seq: int, index: int) -> str:
    """Of the session that the answer `index` begins. The same for the same message said again after the same event,
    so a request that is sent again finds what it had.

    >>> branch_name("abc", "m1", 4, 1)
    'choice-1-c797cd68db84fb8a6f78bb0d'
    >>> branch_name("abc", "m1", 4, 1) == branch_name("abc", "m1", 9, 1)
    False
    """
    words = "\0".join((session_id, client_msg_id, str(at_seq)))
    return f"choice-{index}-{hashlib.blake2b(words.encode(), digest_size=12).hexdigest()}"


class Several:
    """Chunks of every answer, told apart by their `index`; the end is when all of them ended. One that fails once
    something was said ends with finish_reason `error`, and the others go on. Implements stream.Tongue."""

    def __init__(self, model: str, session_id: str | None, client_msg_id: str, *, include_usage: bool, n: int) -> None:
        self.head = Head()
        self._chunks = [
            Chunks(
                model,
                session_id,
                client_msg_id,
                include_usage=include_usage,
                index=index,
                head=self.head,
                alone=n == 1,
            )
            for index in range(n)
        ]
        self._sums = include_usage and n > 1
        self._of: dict[str, Chunks] = {}
        self._broken = False

    def listen(self, index: int, session_id: str) -> None:
        """That answer is given in this session."""
        self._of[session_id] = self._chunks[index]

    def said(self, event: wire.ServerFrame) -> bytes:
        if self._broken:
            return b""
        chunks = self._of.get(event.session_id or "")
        if chunks is None:
            return self._all_failed(event)
        was = self._ended
        said = chunks.said(event)
        if self._ended and not was and self._sums:
            usages = [one.usage for one in self._chunks if one.usage is not None]
            said += chunks.chunk(None, None, usage_of(*usages))
        return said

    def ended(self) -> bytes:
        if len(self._chunks) == 1:
            return self._chunks[0].ended()
        return DONE if self._ended and not self._broken else b""

    @property
    def _ended(self) -> bool:
        return all(chunks.over for chunks in self._chunks)

    def _all_failed(self, event: wire.ServerFrame) -> bytes:
        """Something about the connection itself, as a key that was revoked."""
        if not isinstance(event, wire.Error) or not (self.head.began or self.head.open):
            return b""
        self._broken = True
        return failure(event.error)
