"""An answer shown to the Role's logic while it is given: the only case in which deltas cross the link.

At most one batch is on its way; what comes meanwhile waits, and travels together. Nobody waits for the logic: the user hears
the answer as it comes, and the answer ends where the logic says so, which is a little later than what it saw.
"""

from collections.abc import Callable

from rolehost_runtime.gateway.ports import TurnCall

MAX_BATCHES = 256
"""Of one answer; what comes after them is not shown."""
BATCH_CHARS = 16_384


class Watching:
    def __init__(self, call: TurnCall, index: int, stop: Callable[[], None]) -> None:
        """`stop` is called once, where the logic wants no more of the answer."""
        self._call, self._index, self._stop = call, index, stop
        self._pending = ""
        self._flying = self._over = False
        self._batches = 0

    def said(self, text: str) -> None:
        """The user heard this."""
        if not self._over:
            self._pending += text
            self._send()

    def over(self) -> None:
        """The answer is complete: what the logic says of it comes too late."""
        self._over, self._pending = True, ""

    def _send(self) -> None:
        if self._flying or not self._pending:
            return
        batch, self._pending = self._pending[:BATCH_CHARS], self._pending[BATCH_CHARS:]
        self._batches += 1
        self._flying = True
        self._call.notice(self._index, batch, self._noticed)
        if self._batches >= MAX_BATCHES:
            self._over, self._pending = True, ""

    def _noticed(self, stop: bool) -> None:
        self._flying = False
        if stop and not self._over:
            self.over()
            self._stop()
        elif not self._over:
            self._send()
