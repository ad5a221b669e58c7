"""Words and phrases in one automaton: each character of a text is looked at once, whatever the words are.

No regular expressions: nothing here can take longer than the text is long. A text is read as symbols: folded characters,
digits as one of them, runs of blanks as one blank, and a mark where a word begins, so that `ass` is not found in `class`.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rolehost_runtime.core.safety.folding import FOLDS, is_spaced

BEGIN, DIGIT = "\x01", "0"
"""Symbols: a word begins; any digit. Control characters are folded away, so no text has the first by itself."""
SLACK = 64
"""Characters that are folded away may stand so often within what is held back; more of them end a word."""


@dataclass(frozen=True, slots=True)
class Word:
    """One entry of a rule, ready to be found."""

    symbols: str
    digits: tuple[tuple[int, str], ...]
    """Places from the end, 1 the last, that must be this digit."""
    open_end: bool
    """`*`: the rest of the word belongs to it."""
    spaced_end: bool
    """It ends with a letter that others must not follow."""
    guard: str
    category: str
    action: Literal["block", "replace", "flag"]
    text: str = ""
    language: str = ""


def symbols_of(text: str, *, wild: bool = False) -> Iterator[tuple[str, str]]:
    """A text as (symbol, folded character), the latter empty for BEGIN. `wild`: `#` is any digit.

    >>> "".join(symbol for symbol, _ in symbols_of("No  1#", wild=True)).replace(BEGIN, "^")
    '^no ^00'
    """
    spaced = blank = False
    for char in text:
        for one in FOLDS[char]:
            if one == " " and blank:
                continue
            digit = is_digit(one) or (wild and one == "#")
            now = digit or is_spaced(one)
            if now and not spaced:
                yield BEGIN, ""
            spaced, blank = now, one == " "
            yield (DIGIT if digit else one), one


def is_digit(one: str) -> bool:
    """Of a folded character: all digits are those of ASCII."""
    return "0" <= one <= "9"


def word(
    entry: str,
    *,
    guard: str,
    category: str,
    action: Literal["block", "replace", "flag"],
    text: str = "",
    language: str = "",
) -> Word | None:
    """The entry of a rule as a Word; None where it can never be found: nothing of it is left.

    >>> found = word("Call #1*", guard="house", category="Other", action="flag")
    >>> found.symbols.replace(BEGIN, "^"), found.digits, found.open_end
    ('^call ^00', ((1, '1'),), True)
    >>> word("\u200b *", guard="house", category="Other", action="flag") is None
    True
    """
    open_end = entry.rstrip().endswith("*")
    symbols = list(symbols_of(entry.strip().removesuffix("*").strip(), wild=True))
    if not any(one.strip() for _, one in symbols):
        return None
    last = symbols[-1]
    return Word(
        symbols="".join(symbol for symbol, _ in symbols),
        digits=tuple(
            (len(symbols) - place, one) for place, (symbol, one) in enumerate(symbols) if is_literal(symbol, one)
        ),
        open_end=open_end,
        spaced_end=not open_end and (last[0] == DIGIT or is_spaced(last[1])),
        guard=guard,
        category=category,
        action=action,
        text=text,
        language=language,
    )


def is_literal(symbol: str, one: str) -> bool:
    """A digit that a text must have in that place."""
    return symbol == DIGIT and one != "#"


class Words:
    """Many of them, to be found together (Aho and Corasick, 1975)."""

    def __init__(self, words: Iterable[Word]) -> None:
        self.goto: list[dict[str, int]] = [{}]
        self.fail: list[int] = [0]
        self.found: list[tuple[Word, ...]] = [()]
        """The words that end at a node, the longest first."""
        self.hold: list[int] = [0]
        """So many symbols before a node may still become a word that is not let through."""
        self.longest = 0
        depth, acting = [0], [False]
        for one in words:
            self._insert(one, depth, acting)
        self._link(depth, acting)
        self.first = self.goto[self.goto[0].get(BEGIN, 0)] if BEGIN in self.goto[0] else {}
        """What a spaced word begins with."""
        self.window = self.longest + SLACK
        """Characters that are held back, at most."""

    def __bool__(self) -> bool:
        return len(self.goto) > 1

    def _insert(self, one: Word, depth: list[int], acting: list[bool]) -> None:
        node, acts = 0, one.action != "flag"
        for symbol in one.symbols:
            following = self.goto[node].get(symbol)
            if following is None:
                following = len(self.goto)
                self.goto[node][symbol] = following
                self.goto.append({})
                self.fail.append(0)
                self.found.append(())
                self.hold.append(0)
                depth.append(depth[node] + 1)
                acting.append(False)
            node = following
            acting[node] = acting[node] or acts
        self.found[node] = (*self.found[node], one)
        self.longest = max(self.longest, len(one.symbols))

    def _link(self, depth: list[int], acting: list[bool]) -> None:
        """From each node to the longest other beginning of a word that what was read ends with."""
        waiting = deque(self.goto[0].values())
        while waiting:
            node = waiting.popleft()
            for symbol, following in self.goto[node].items():
                self.fail[following] = self.step(self.fail[node], symbol) if node else 0
                waiting.append(following)
            self.found[node] = (*self.found[node], *self.found[self.fail[node]])
            self.hold[node] = depth[node] if acting[node] else self.hold[self.fail[node]]

    def step(self, node: int, symbol: str) -> int:
        """Where reading one more symbol leads."""
        goto = self.goto
        while (following := goto[node].get(symbol)) is None:
            if not node:
                return 0
            node = self.fail[node]
        return following
