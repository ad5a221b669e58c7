"""Which texts travel together to a server that takes many at once: a line of texts in, batches out.

A batch goes when it is full, or when its first text has waited for the window. Texts of one session are done in the order
in which they came: while some of it are on their way in one batch, the next ones wait.
"""

from typing import NamedTuple

from rolehost_api.crd.modelbackend import Batching


class Waiting(NamedTuple):
    number: int
    session: str
    """Empty: in no order with any other."""
    tokens: int
    due: float
    """When it does not wait for others any more."""


class Batcher:
    """The texts of one tenant for one model. `rule` may be replaced at any time.

    >>> line = Batcher(Batching(max_texts=2, max_tokens=100, window_milliseconds=500))
    >>> for number, session in enumerate("aab"): line.add(number, session, 10, now=1.0)
    >>> line.take(1.0), line.take(1.0), line.due      # "b" alone waits for company
    ([0, 1], [], 1.5)
    >>> line.add(3, "a", 10, now=1.2), line.take(1.5), line.due      # of "a" the first two are on their way
    (None, [2], None)
    >>> line.done([0, 1]), line.due, line.take(1.7)
    (None, 1.7, [3])
    """

    def __init__(self, rule: Batching) -> None:
        self.rule = rule
        self._waiting: dict[int, Waiting] = {}
        self._running: dict[int, str] = {}
        self._busy: dict[str, int] = {}
        """Sessions with texts on their way, and how many."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, number: int, session: str, tokens: int, now: float) -> None:
        self._waiting[number] = Waiting(number, session, tokens, now + self.rule.window_milliseconds / 1000)

    def drop(self, number: int) -> None:
        """Nobody wants it any more. Harmless where it is on its way."""
        self._waiting.pop(number, None)

    @property
    def due(self) -> float | None:
        """When `take` has something for certain; None: not before something is done, or added."""
        return next((one.due for one in self._free()), None)

    def take(self, now: float) -> list[int]:
        """The next batch, which is on its way from now on; empty where none is ready."""
        chosen: list[Waiting] = []
        tokens, is_full = 0, False
        for one in self._free():
            if chosen and (len(chosen) == self.rule.max_texts or tokens + one.tokens > self.rule.max_tokens):
                is_full = True
                break
            chosen.append(one)
            tokens += one.tokens
        is_full = is_full or len(chosen) >= self.rule.max_texts or tokens >= self.rule.max_tokens
        if not chosen or not (is_full or now >= chosen[0].due):
            return []
        for one in chosen:
            del self._waiting[one.number]
            self._running[one.number] = one.session
            if one.session:
                self._busy[one.session] = self._busy.get(one.session, 0) + 1
        return [one.number for one in chosen]

    def done(self, numbers: list[int]) -> None:
        for number in numbers:
            session = self._running.pop(number)
            if session:
                self._busy[session] -= 1
                if not self._busy[session]:
                    del self._busy[session]

    def _free(self) -> list[Waiting]:
        """Those that may go, in order: none of a session that has some on their way."""
        return [one for one in self._waiting.values() if one.session not in self._busy]


def halves(numbers: list[int]) -> tuple[list[int], list[int]]:
    """A batch that was refused, in two: one text may be to blame for all.

    >>> halves([1, 2, 3])
    ([1], [2, 3])
    """
    middle = len(numbers) // 2
    return numbers[:middle], numbers[middle:]
