"""Calls that must be carried out in the order in which they were issued: one of each line is on its way at a time."""

from collections import deque

from rolehost_runtime.gateway.broker.state.resp.call import Call


class Lines:
    def __init__(self) -> None:
        self._behind: dict[bytes, deque[Call] | None] = {}
        """Lines of which a call is on its way, and what waits behind it."""

    def enter(self, line: bytes, call: Call) -> bool:
        """Whether the call may go at once; else `leave` will give it when its time has come."""
        if line not in self._behind:
            self._behind[line] = None
            call.line = line
            return True
        behind = self._behind[line]
        if behind is None:
            behind = self._behind[line] = deque()
        behind.append(call)
        return False

    def leave(self, line: bytes) -> Call | None:
        """The line's first call is over: the next one that is not over itself."""
        behind = self._behind[line]
        while behind:
            following = behind.popleft()
            if not following.over:
                following.line = line
                return following
        del self._behind[line]
        return None
