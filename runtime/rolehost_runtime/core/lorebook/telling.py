"""What a turn tells of a book. Pure: over the book, what was said last, the turn's seed, and what the session remembers."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from rolehost_api.crd.lorebook import AfterMatch, LoreLogic, LoreSource
from rolehost_runtime.core.lorebook.compiling import Compiled, Rule, searches_entries

MAX_ROUNDS = 8
"""Of recursion: an entry may find others so many times over."""
MAX_TOLD = 64
"""Entries in a turn, beside those that every turn tells."""
MAX_REMEMBERED = 1_000
"""Entries that a session remembers."""

By = Literal["constant", "key", "entry", "kept"]
"""Why: it is constant, a key of it is in a message, or in the text of another entry, or it was told before and stays."""


class Moment(NamedTuple):
    """The turn, as an entry's conditions ask for it."""

    turn: int
    seed: int
    replies: int
    """So many times the Role has spoken, its greeting counted."""
    greeting: int = 0
    """The one that the session began with."""
    remembered: Mapping[str, int] = {}
    """Id of an entry → the turn that told it, where it must be known: see `Rule.keeps`."""


class Found(NamedTuple):
    rule: Rule
    by: By


class Told(NamedTuple):
    found: tuple[Found, ...]
    """As they stand in the prompt; without those that every turn tells."""
    left_out: tuple[str, ...]
    """Ids of entries that were found and did not fit."""
    began: tuple[str, ...]
    """Ids of those that the session must remember for it."""


def tell(book: Compiled, messages: Sequence[str], now: Moment) -> Told:
    """`messages`: what was said, the newest first, the turn's own message among them.

    >>> from rolehost_api.crd.lorebook import Lorebook, LoreEntry
    >>> book = Compiled(Lorebook(recursive=True, entries=(
    ...     LoreEntry(id="gull", content="Gull is an airship. Her cat is called Bosun.", keys=("ship", "Gull")),
    ...     LoreEntry(id="bosun", content="Bosun has one ear.", keys=("cat",)),
    ... )), len)
    >>> [(found.rule.entry.id, found.by) for found in tell(book, ["Whose ship is that?"], Moment(1, 7, 0)).found]
    [('gull', 'key'), ('bosun', 'entry')]
    """
    depths = book.depths(messages)
    found: dict[int, Found] = {}
    kept = [rule for rule in book.rules if _kept(rule, now)]
    constant = [rule for rule in book.rules if rule.always or (rule.entry.constant and _possible(rule, now))]
    for rules, by in ((kept, "kept"), (constant, "constant")):
        for rule in rules:
            if by == "kept" or rule.always or _lucky(rule.entry.id, rule.entry.probability, now.seed):
                found.setdefault(rule.place, Found(rule, by))  # type: ignore[arg-type]

    def in_messages(rule: Rule, key: int) -> bool:
        return depths.get(key, rule.scan_depth + 1) <= rule.scan_depth

    at_first = (rule for rule in _of(book, depths) if rule.entry.found_in is not LoreSource.ENTRIES)
    _look(at_first, found, now, in_messages, "key")
    if book.book.recursive:
        _recursion(book, found, now, in_messages)
    return _within(found.values(), book.budget, now)


def remembered(before: Mapping[str, int], began: Iterable[str], turn: int) -> dict[str, int]:
    """What a session remembers after a turn; the newest MAX_REMEMBERED.

    >>> remembered({"gull": 3}, ["bosun", "gull"], 9)
    {'bosun': 9, 'gull': 9}
    """
    after = dict(before)
    for name in began:
        after.pop(name, None)
        after[name] = turn
    while len(after) > MAX_REMEMBERED:
        del after[next(iter(after))]
    return after


def _of(book: Compiled, keys: Iterable[int]) -> list[Rule]:
    """Rules that have one of these keys, in the order of the book."""
    rules = {rule.place: rule for key in keys for rule in book.by_key.get(key, ())}
    return [rules[place] for place in sorted(rules)]


def _look(
    rules: Iterable[Rule], found: dict[int, Found], now: Moment, there: Callable[[Rule, int], bool], by: By
) -> list[Rule]:
    """Take up those whose keys are there. Returns what is new."""
    new: list[Rule] = []
    for rule in rules:
        if (
            rule.place not in found
            and _possible(rule, now)
            and _matches(rule, there)
            and _lucky(rule.entry.id, rule.entry.probability, now.seed)
        ):
            found[rule.place] = Found(rule, by)
            new.append(rule)
    return new


def _recursion(book: Compiled, found: dict[int, Found], now: Moment, in_messages: Callable[[Rule, int], bool]) -> None:
    """What was found finds more, round by round: each entry at most once, so a circle ends where it began."""
    newest = [*book.fixed, *(one.rule for one in found.values())]
    read: set[int] = set()

    def there(rule: Rule, key: int) -> bool:
        if key in read and searches_entries(rule):
            return True
        return rule.entry.found_in is not LoreSource.ENTRIES and in_messages(rule, key)

    for _ in range(MAX_ROUNDS):
        fresh: set[int] = set()
        for rule in newest:
            if rule.entry.finds_others:
                fresh |= book.in_text_of(rule) - read
        read |= fresh
        newest = _look(_of(book, fresh), found, now, there, "entry")
        if not newest or len(found) > 2 * MAX_TOLD:
            return


def _matches(rule: Rule, there: Callable[[Rule, int], bool]) -> bool:
    if not any(there(rule, key) for key in rule.keys) or any(there(rule, key) for key in rule.excluded):
        return False
    if not rule.second:
        return True
    second = (there(rule, key) for key in rule.second)
    match rule.entry.logic:
        case LoreLogic.AND_ANY:
            return any(second)
        case LoreLogic.AND_ALL:
            return all(second)
        case LoreLogic.NOT_ANY:
            return not any(second)
        case LoreLogic.NOT_ALL:
            return not all(second)


def _kept(rule: Rule, now: Moment) -> bool:
    """Told without being found, for it was told before."""
    since = now.remembered.get(rule.entry.id)
    if since is None:
        return False
    return rule.entry.after_match is AfterMatch.ALWAYS or now.turn - since <= rule.entry.sticky_turns


def _possible(rule: Rule, now: Moment) -> bool:
    """Whether it may be found in this turn at all."""
    entry, since = rule.entry, now.remembered.get(rule.entry.id)
    if entry.greeting is not None and entry.greeting != now.greeting:
        return False
    if now.replies < entry.after_replies or now.replies % entry.every_replies:
        return False
    if since is None:
        return True
    return entry.after_match is not AfterMatch.NEVER and now.turn - since > entry.sticky_turns + entry.cooldown_turns


def _lucky(name: str, probability: int, seed: int) -> bool:
    """Whether chance is for it in this turn: of its id and the turn's seed alone, so that other entries change nothing.

    >>> sum(_lucky("x", 30, seed) for seed in range(1000))
    310
    """
    if probability >= 100:
        return True
    drawn = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) % 100 < probability


def _within(found: Iterable[Found], budget: int, now: Moment) -> Told:
    """The most important ones that fit, in the order of the prompt."""
    kept: list[Found] = []
    left_out: list[str] = []
    for one in sorted(found, key=lambda one: one.rule.weight):
        if one.rule.cost <= budget and len(kept) < MAX_TOLD:
            budget -= one.rule.cost
            kept.append(one)
        elif len(left_out) < MAX_TOLD:
            left_out.append(one.rule.entry.id)
    kept.sort(key=lambda one: (one.rule.entry.order, one.rule.place))
    began = tuple(one.rule.entry.id for one in kept if one.rule.keeps and one.by != "kept")
    return Told(tuple(kept), tuple(left_out), began)
