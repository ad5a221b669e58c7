"""Who may call a backend next: so many at once, and tenants take turns where others wait.

A tenant's own calls are in the order in which they came. The line is bounded: where it is full, the tenant with
most waiting calls loses its newest, so that nobody fills it for the others. A call that could
not begin by its deadline is passed over.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

from rolehost_api.crd.modelbackend import Concurrency


class Waiting(NamedTuple):
    number: int
    tenant: str
    until: float


class Turnstile:
    """Of one backend. A call `enter`s, and whoever is in `leave`s; `rule` may be replaced at any time.

    >>> gate = Turnstile(Concurrency(max_calls=1, max_queue=3))
    >>> gate.enter(1, "a", 9.0), gate.enter(2, "a", 9.0), gate.enter(3, "a", 9.0), gate.enter(4, "b", 9.0)
    ((True, None), (False, None), (False, None), (False, None))
    >>> gate.enter(5, "b", 9.0)      # the line is full, and "a" has as many in it: who comes is refused
    (False, 5)
    >>> gate.leave(0.0), gate.leave(0.0), gate.leave(0.0), gate.leave(0.0)
    ([2], [4], [3], [])
    """

    def __init__(self, rule: Concurrency) -> None:
        self.rule = rule
        self.inside = 0
        self._lines: OrderedDict[str, deque[Waiting]] = OrderedDict()
        """By tenant; whose turn is next stands first."""
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    def enter(self, number: int, tenant: str, until: float) -> tuple[bool, int | None]:
        """(is in, who is refused): the call itself, or one that waits and gives its place up for it."""
        if self.inside < self.rule.max_calls and not self._waiting:
            self.inside += 1
            return True, None
        refused = None
        if self._waiting >= self.rule.max_queue:
            refused = self._longest(tenant)
            if refused is None:
                return False, number
        self._lines.setdefault(tenant, deque()).append(Waiting(number, tenant, until))
        self._waiting += 1
        return False, refused

    def leave(self, now: float) -> list[int]:
        """One is out: who is in now."""
        self.inside -= 1
        return self.admit(now)

    def admit(self, now: float) -> list[int]:
        """Who is in now, where there is room: more than one where the rule was changed."""
        found: list[int] = []
        while self.inside < self.rule.max_calls and (number := self._next(now)) is not None:
            self.inside += 1
            found.append(number)
        return found

    def give_up(self, number: int) -> None:
        """A call that waits does not want to any more. Harmless for one that was refused."""
        for tenant, line in self._lines.items():
            for one in line:
                if one.number == number:
                    line.remove(one)
                    self._waiting -= 1
                    if not line:
                        del self._lines[tenant]
                    return

    def _next(self, now: float) -> int | None:
        while self._lines:
            tenant, line = next(iter(self._lines.items()))
            one = line.popleft()
            self._waiting -= 1
            if line:
                self._lines.move_to_end(tenant)
            else:
                del self._lines[tenant]
            if one.until > now:
                return one.number
        return None

    def _longest(self, tenant: str) -> int | None:
        """The newest of the longest line, if that is longer than this tenant's would be; it is out then."""
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=None)
        if longest is None or len(self._lines[longest]) <= len(self._lines.get(tenant, ())) + 1:
            return None
        self._waiting -= 1
        return self._lines[longest].pop().number
