"""All keys of a book looked for in one pass over a text, however many keys there are.

Words are looked for as words: a text is cut into runs of letters and digits, and single other characters; a key
is there where its own such pieces stand one behind the other. So `cat` is not in `catch`, and no position of the
text is looked at twice. The automaton is Aho's and Corasick's, over pieces instead of characters: its time is
linear in the text, whatever the keys are.
"""

import re
from collections import deque
from collections.abc import Hashable, Iterable, Sequence

_PIECES = re.compile(r"[^\W\u0e00-\uabff\ud7a4-\U0010ffff]+|.", re.DOTALL).findall
"""A run of letters, digits and `_` of a script that parts words by spaces (what lies below Thai, and Hangul), or one
character by itself."""


def pieces(text: str) -> list[str]:
    """
    >>> pieces("the cat's 恐龙 v2.0")
    ['the', ' ', 'cat', "'", 's', ' ', '恐', '龙', ' ', 'v2', '.', '0']
    """
    return _PIECES(text)


class Automaton:
    """
    >>> automaton = Automaton([(0, "ushers"), (1, "he"), (2, "hers"), (3, "his")])
    >>> sorted(automaton.found("ushers"))
    [0, 1, 2]
    """

    def __init__(self, keys: Iterable[tuple[int, Sequence[Hashable]]]) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._ends: list[tuple[int, ...]] = [()]
        """By node: the keys that end there."""
        self.size = 0
        for number, key in keys:
            self._add(number, key)
            self.size += 1
        self._fail, self._shorter = self._links()

    def _add(self, number: int, key: Sequence[Hashable]) -> None:
        node = 0
        for piece in key:
            after = self._next[node].get(piece)
            if after is None:
                after = self._next[node][piece] = len(self._next)
                self._next.append({})
                self._ends.append(())
            node = after
        self._ends[node] += (number,)

    def _links(self) -> tuple[list[int], list[int]]:
        """By node: the longest other node that its text ends with, and the longest such at which keys end; 0 for none."""
        fail, shorter = [0] * len(self._next), [0] * len(self._next)
        left = deque(self._next[0].values())
        while left:
            node = left.popleft()
            for piece, after in self._next[node].items():
                at = fail[node]
                while at and piece not in self._next[at]:
                    at = fail[at]
                fail[after] = self._next[at].get(piece, 0)
                shorter[after] = fail[after] if self._ends[fail[after]] else shorter[fail[after]]
                left.append(after)
        return fail, shorter

    def found(self, text: Iterable[Hashable]) -> set[int]:
        """Numbers of the keys in it."""
        follow, ends, fail, shorter = self._next, self._ends, self._fail, self._shorter
        seen: set[int] = set()
        told: set[int] = set()
        root = follow[0]
        node = 0
        for piece in text:
            if not node:
                node = root.get(piece, 0)
                if not node:
                    continue
            else:
                while node and piece not in follow[node]:
                    node = fail[node]
                node = follow[node].get(piece, 0)
                if not node:
                    continue
            at = node if ends[node] else shorter[node]
            while at and at not in seen:  # what is behind a node that was seen was told with it
                seen.add(at)
                told.update(ends[at])
                at = shorter[at]
        return told
