"""A book made ready, once for a revision: its keys as automata, its entries as rules over the keys' numbers."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from rolehost_api.crd.lorebook import (
    MAX_BOOK_CHARS,
    MAX_BOOK_KEY_CHARS,
    MAX_SCAN_DEPTH,
    AfterMatch,
    Lorebook,
    LoreEntry,
    LorePosition,
    LoreSource,
)
from rolehost_runtime.core.lorebook import patterns
from rolehost_runtime.core.lorebook.decorators import decorated
from rolehost_runtime.core.lorebook.matching import Automaton, pieces

MAX_SCANNED_CHARS = 16_384
"""Of the newest messages together; what is older is not looked at."""


class Rule(NamedTuple):
    """An entry over the numbers of its keys."""

    entry: LoreEntry
    place: int
    """In the book."""
    keys: tuple[int, ...]
    second: tuple[int, ...]
    excluded: tuple[int, ...]
    scan_depth: int
    always: bool
    """In any case, whatever its other conditions say."""
    cost: int
    """Tokens, about."""

    @property
    def keeps(self) -> bool:
        """Whether it must be remembered when it was told."""
        entry = self.entry
        return bool(entry.sticky_turns or entry.cooldown_turns or entry.after_match is not AfterMatch.AGAIN)

    @property
    def fixed(self) -> bool:
        """Told in every turn, whatever is said: as stable as the persona."""
        entry = self.entry
        conditions = (entry.probability, entry.after_replies, entry.every_replies, entry.greeting) != (100, 0, 1, None)
        never = bool(entry.cooldown_turns) or entry.after_match is AfterMatch.NEVER
        placed = entry.position is not LorePosition.AT_DEPTH
        return placed and (self.always or (entry.constant and not (conditions or never)))

    @property
    def weight(self) -> tuple[int, int, int]:
        """Over the budget the highest goes first."""
        entry = self.entry
        return -(entry.order if entry.priority is None else entry.priority), entry.order, self.place


class _Keys:
    """Numbers for keys, each text once for each way of looking for it."""

    def __init__(self) -> None:
        self.exact: dict[str, int] = {}
        self.folded: dict[str, int] = {}
        self.exact_parts: dict[str, int] = {}
        self.folded_parts: dict[str, int] = {}
        self.patterns: dict[tuple[str, bool], int] = {}
        self.searches: list[tuple[int, patterns.Search]] = []
        self.programs = 0
        self.count = 0
        self.room = MAX_BOOK_KEY_CHARS

    def plain(self, entry: LoreEntry, keys: Iterable[str]) -> tuple[int, ...]:
        if entry.case_sensitive:
            table = self.exact if entry.whole_words else self.exact_parts
        else:
            table = self.folded if entry.whole_words else self.folded_parts
        return tuple(
            self._number(table, key if entry.case_sensitive else key.casefold()) for key in keys if self._fits(key)
        )

    def pattern(self, entry: LoreEntry, keys: Iterable[str]) -> tuple[int, ...]:
        """Those that are patterns; what is none is never found, as the cards' specification wants it."""
        numbers: list[int] = []
        for key in keys:
            name = (key, entry.case_sensitive)
            if name not in self.patterns and self._fits(key):
                try:
                    search, size = patterns.compiled(key, case_sensitive=entry.case_sensitive)
                except patterns.InvalidPattern:
                    continue
                if self.programs + size > patterns.MAX_PROGRAMS:
                    continue
                self.programs += size
                self.searches.append((self._number(self.patterns, name), search))
            if name in self.patterns:
                numbers.append(self.patterns[name])
        return tuple(numbers)

    def _fits(self, key: str) -> bool:
        if not key.strip() or len(key) > self.room:
            return False
        self.room -= len(key)
        return True

    def _number(self, table: dict[Any, int], key: Hashable) -> int:
        number: int | None = table.get(key)
        if number is None:
            number = table[key] = self.count
            self.count += 1
        return number


class Compiled:
    """A book that is ready. What it learns of its own texts it keeps."""

    def __init__(self, book: Lorebook, estimate: Callable[[str], int]) -> None:
        self.book = book
        keys, room = _Keys(), MAX_BOOK_CHARS
        rules: list[Rule] = []
        for place, given in enumerate(book.entries):
            room -= len(given.content)
            if room < 0:
                break
            entry, always, _ = decorated(given)
            if entry.enabled and entry.content.strip():
                rules.append(_rule(entry, place, always, book, keys, estimate))
        self._exact, self._folded = (
            Automaton((number, pieces(key)) for key, number in table.items()) for table in (keys.exact, keys.folded)
        )
        self._exact_parts, self._folded_parts = (
            Automaton((number, key) for key, number in table.items()) for table in (keys.exact_parts, keys.folded_parts)
        )
        self._searches = keys.searches
        self._in_entry: dict[str, frozenset[int]] = {}
        self.fixed = _fitting(
            sorted((rule for rule in rules if rule.fixed), key=lambda rule: rule.weight), book.token_budget
        )
        """Told in every turn, in the order of the prompt; they have their part of the budget before all others."""
        self.budget = book.token_budget - sum(rule.cost for rule in self.fixed)
        """For the others."""
        self.rules = tuple(rule for rule in rules if not rule.fixed)
        self.by_key: dict[int, list[Rule]] = {}
        for rule in self.rules:
            for number in rule.keys:
                self.by_key.setdefault(number, []).append(rule)
        self.scan_depth = max((rule.scan_depth for rule in self.rules), default=0)

    @property
    def has_patterns(self) -> bool:
        """They may take some tens of milliseconds where somebody means them to; plain keys never do."""
        return bool(self._searches)

    @property
    def empty(self) -> bool:
        return not (self.fixed or self.rules)

    def depths(self, messages: Sequence[str]) -> dict[int, int]:
        """Keys that are in `messages`, the newest first, each with the number of the newest that holds it: 1 is the first.

        At most MAX_SCANNED_CHARS are looked at, and of a message that is too long its end.
        """
        found: dict[int, int] = {}
        room = MAX_SCANNED_CHARS
        for depth, message in enumerate(messages[: self.scan_depth], 1):
            text = message[-room:]
            room -= len(text)
            for number in self._found(text):
                found.setdefault(number, depth)
            if self._searches:
                encoded = text.encode("utf-8", "replace")
                for number, search in self._searches:
                    if number not in found and search(encoded):
                        found[number] = depth
            if room <= 0:
                break
        return found

    def in_text_of(self, rule: Rule) -> frozenset[int]:
        """Keys that are in an entry's own text. Patterns do not look there."""
        known = self._in_entry.get(rule.entry.id)
        if known is None:
            known = self._in_entry[rule.entry.id] = frozenset(self._found(rule.entry.content))
        return known

    def _found(self, text: str) -> set[int]:
        found: set[int] = set()
        if self._exact.size:
            found |= self._exact.found(pieces(text))
        if self._exact_parts.size:
            found |= self._exact_parts.found(text)
        if self._folded.size or self._folded_parts.size:
            folded = text.casefold()
            if self._folded.size:
                found |= self._folded.found(pieces(folded))
            if self._folded_parts.size:
                found |= self._folded_parts.found(folded)
        return found


def _rule(
    entry: LoreEntry, place: int, always: bool, book: Lorebook, keys: _Keys, estimate: Callable[[str], int]
) -> Rule:
    return Rule(
        entry,
        place,
        keys.pattern(entry, entry.keys) if entry.regex else keys.plain(entry, entry.keys),
        keys.plain(entry, entry.second_keys),
        keys.plain(entry, entry.excluded_keys),
        min(MAX_SCAN_DEPTH, book.scan_depth if entry.scan_depth is None else entry.scan_depth),
        always,
        estimate(entry.content),
    )


def _fitting(rules: Iterable[Rule], budget: int) -> tuple[Rule, ...]:
    kept: list[Rule] = []
    for rule in rules:
        if rule.cost <= budget:
            budget -= rule.cost
            kept.append(rule)
    return tuple(sorted(kept, key=lambda rule: (rule.entry.order, rule.place)))


def searches_entries(rule: Rule) -> bool:
    return rule.entry.found_in is not LoreSource.MESSAGES and not rule.entry.regex
