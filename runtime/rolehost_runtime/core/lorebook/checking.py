"""What of a book can never be told, and what of it is said twice: found when it is written, not when somebody talks."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rolehost_api.crd.lorebook import (
    MAX_BOOK_CHARS,
    MAX_BOOK_KEY_CHARS,
    Lorebook,
    LoreEntry,
    LoreLogic,
    LoreSource,
)
from rolehost_runtime.core.lorebook import patterns
from rolehost_runtime.core.lorebook.decorators import Decorated, decorated


class Fault(NamedTuple):
    entry: int | None
    """Its place in the book; None: the book's own."""
    field: str
    message: str
    hint: str


def faults(book: Lorebook, greetings: int, estimate: Callable[[str], int]) -> list[Fault]:
    """`greetings`: how many the persona has.

    >>> book = Lorebook(entries=(LoreEntry(id="a", content="A ship."), LoreEntry(id="b", content="", keys=("b",))))
    >>> [(fault.entry, fault.field) for fault in faults(book, 0, len)]
    [(0, 'keys'), (1, 'content')]
    """
    entries = [decorated(entry) for entry in book.entries]
    return [
        *(
            Fault(place, *said)
            for place, one in enumerate(entries)
            for said in (*_never(one, book, greetings, estimate), *_patterns(one.entry))
        ),
        *_twice([one.entry for one in entries]),
        *_bounds(book, entries, estimate),
    ]


Said = tuple[str, str, str]


def _never(one: Decorated, book: Lorebook, greetings: int, estimate: Callable[[str], int]) -> Iterator[Said]:
    """Why this entry can never be told; one reason is enough."""
    entry = one.entry
    cost = estimate(entry.content)
    if not entry.enabled:
        yield "enabled", "switches the entry off: it is never told", "Leave the entry out"
    elif not entry.content.strip():
        yield "content", "is empty", "Write what is to be told"
    elif cost > book.token_budget:
        yield (
            "content",
            f"has about {cost} tokens, which is more than the book's tokenBudget, {book.token_budget}",
            "Raise tokenBudget, or write less",
        )
    elif one.always:
        return
    elif entry.probability == 0:
        yield "probability", "is 0: it is never told", "Leave the entry out, or raise it"
    elif entry.greeting is not None and entry.greeting >= max(greetings, 1):
        yield (
            "greeting",
            f"is {entry.greeting}, and there are {greetings}",
            "0 is persona.greeting, 1 the first of greetings",
        )
    elif not entry.constant:
        yield from _not_found(entry, book)


def _not_found(entry: LoreEntry, book: Lorebook) -> Iterator[Said]:
    if not any(key.strip() for key in entry.keys):
        yield "keys", "are missing: it is not constant and nothing can find it", "Write keys, or constant: true"
        return
    in_entries = book.recursive and not entry.regex and entry.found_in is not LoreSource.MESSAGES
    depth = book.scan_depth if entry.scan_depth is None else entry.scan_depth
    in_messages = depth > 0 and entry.found_in is not LoreSource.ENTRIES
    if not (in_entries or in_messages):
        yield (
            "foundIn" if entry.found_in is LoreSource.ENTRIES else "scanDepth",
            "leaves nothing in which its keys are looked for",
            "Set recursive: true in the book for entries that find others, or a scanDepth above 0",
        )
        return
    if not entry.regex and (why := _contradiction(entry)):
        yield why


def _contradiction(entry: LoreEntry) -> Said | None:
    def folded(keys: tuple[str, ...]) -> set[str]:
        return {key if entry.case_sensitive else key.casefold() for key in keys if key.strip()}

    keys, second, excluded = folded(entry.keys), folded(entry.second_keys), folded(entry.excluded_keys)
    if keys <= excluded:
        return "excludedKeys", "hold all of its keys: what finds it forbids it", "Take them out of one of the two"
    if not second:
        return None
    missing = (second <= excluded) if entry.logic is LoreLogic.AND_ANY else bool(second & excluded)
    if entry.logic in (LoreLogic.AND_ANY, LoreLogic.AND_ALL) and missing:
        return "excludedKeys", "hold what secondKeys ask for", "Take it out of one of the two"
    if entry.logic is LoreLogic.NOT_ANY and keys <= second:
        return "secondKeys", "hold all of its keys, and none of them may be there", "Take them out of one of the two"
    if entry.logic is LoreLogic.NOT_ALL and keys == second and len(keys) == 1:
        return "secondKeys", "hold its only key, and not all of them may be there", "Take it out of one of the two"
    return None


def _patterns(entry: LoreEntry) -> Iterator[Said]:
    if not (entry.regex and entry.enabled and patterns.known()):
        return
    for number, key in enumerate(entry.keys):
        try:
            patterns.compiled(key, case_sensitive=entry.case_sensitive)
        except patterns.InvalidPattern as error:
            yield f"keys[{number}]", str(error), "github.com/google/re2/wiki/Syntax says what there is"


def _twice(entries: list[LoreEntry]) -> Iterator[Fault]:
    seen: dict[tuple[object, ...], str] = {}
    for place, entry in enumerate(entries):
        same = (
            entry.content.strip(), frozenset(entry.keys), frozenset(entry.second_keys), entry.logic,
            frozenset(entry.excluded_keys), entry.greeting, entry.position, entry.depth, entry.after_replies,
        )  # fmt: skip
        if entry.enabled and same in seen:
            yield Fault(place, "content", f"is told under the same keys by {seen[same]!r}", "Keep one of the two")
        elif entry.enabled and entry.content.strip():
            seen[same] = entry.id


def _bounds(book: Lorebook, entries: list[Decorated], estimate: Callable[[str], int]) -> Iterator[Fault]:
    chars = sum(len(entry.content) for entry in book.entries)
    if chars > MAX_BOOK_CHARS:
        yield Fault(
            None, "entries", f"have {chars} characters together; at most {MAX_BOOK_CHARS} are read", "Take some out"
        )
    keys = [key for one in entries for key in (*one.entry.keys, *one.entry.second_keys, *one.entry.excluded_keys)]
    if sum(map(len, keys)) > MAX_BOOK_KEY_CHARS:
        yield Fault(None, "entries", f"have over {MAX_BOOK_KEY_CHARS} characters of keys", "Take some out")
    if patterns.known() and (size := _programs(entries)) > patterns.MAX_PROGRAMS:
        yield Fault(
            None,
            "entries",
            f"have patterns of {size} instructions together; at most {patterns.MAX_PROGRAMS} are looked for",
            "Write plain keys where there is no need of a pattern",
        )
    constant = [one.entry for one in entries if one.entry.enabled and (one.entry.constant or one.always)]
    cost = sum(estimate(entry.content) for entry in constant)
    if cost > book.token_budget and all(estimate(entry.content) <= book.token_budget for entry in constant):
        yield Fault(
            None,
            "tokenBudget",
            f"is {book.token_budget}, and the constant entries alone take about {cost}",
            f"Set tokenBudget: {cost} or more",
        )


def _programs(entries: list[Decorated]) -> int:
    size = 0
    for key, exact in {
        (key, one.entry.case_sensitive)
        for one in entries
        if one.entry.regex and one.entry.enabled
        for key in one.entry.keys
    }:
        try:
            size += patterns.compiled(key, case_sensitive=exact)[1]
        except patterns.InvalidPattern:
            continue
    return size
