"""BM25: which texts share words with a question, and how telling those words are."""

import math
from collections import Counter, defaultdict

from rolehost_runtime.core.memory.words import tokens

K1, B = 1.2, 0.75
"""How fast a word that is repeated stops counting; how much a long text is held against."""
MAX_LOOKED_AT = 20_000
"""Of places where a question's words stand, the most telling words first: some milliseconds, whatever is asked."""


class Keywords:
    """The texts of one partition by their words. Texts come and go one by one."""

    def __init__(self) -> None:
        self._where: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """By token: the texts that have it, and how often."""
        self._words: dict[str, Counter[str]] = {}
        self._lengths: dict[str, int] = {}
        self._length = 0

    def __len__(self) -> int:
        return len(self._words)

    def add(self, name: str, text: str) -> None:
        """In place of what had that name."""
        self.remove(name)
        counted = self._words[name] = Counter(tokens(text))
        self._lengths[name] = counted.total()
        self._length += self._lengths[name]
        for token, times in counted.items():
            self._where[token][name] = times

    def remove(self, name: str) -> None:
        """Harmless where it is not there."""
        counted = self._words.pop(name, None)
        if counted is None:
            return
        self._length -= self._lengths.pop(name)
        for token in counted:
            del self._where[token][name]
            if not self._where[token]:
                del self._where[token]

    def scores(self, query: str) -> dict[str, float]:
        """Texts that share a word with the question, each with a score above 0.

        >>> found = Keywords()
        >>> found.add("a", "Ann has met two dragons"); found.add("b", "Ann likes tea"); found.add("c", "Bob likes tea")
        >>> scores = found.scores("Which dragon did Ann meet?")
        >>> sorted(scores), scores["a"] > scores["b"]
        (['a', 'b'], True)
        """
        total = len(self._words)
        average = self._length / total if total and self._length else 1.0
        scores: defaultdict[str, float] = defaultdict(float)
        room = MAX_LOOKED_AT
        asked = [token for token in set(tokens(query)) if token in self._where]
        for token in sorted(asked, key=lambda token: (len(self._where[token]), token)):
            where = self._where[token]
            room -= len(where)
            if room < 0:
                break
            telling = math.log(1 + (total - len(where) + 0.5) / (len(where) + 0.5))
            for name, times in where.items():
                weight = times + K1 * (1 - B + B * self._lengths[name] / average)
                scores[name] += telling * times * (K1 + 1) / weight
        return dict(scores)
