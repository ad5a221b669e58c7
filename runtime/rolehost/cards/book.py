"""A card's `character_book` as a persona's lorebook, and a lorebook as a `character_book` again.

What SillyTavern keeps under an entry's `extensions` is read where we know the like. What a card's entry has no field
for is kept under `extensions["rolehost.io"]`, so that nothing is lost on the way there and back.
"""

import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from rolehost_api.crd.lorebook import (
    DEFAULT_BUDGET,
    DEFAULT_SCAN_DEPTH,
    MAX_BOOK_CHARS,
    MAX_CONTENT_CHARS,
    MAX_ENTRIES,
    MAX_KEY_CHARS,
    MAX_KEYS,
    MAX_SCAN_DEPTH,
    TURNS,
    Lorebook,
    LoreEntry,
    LoreLogic,
    LorePosition,
    LoreSource,
    LoreSpeaker,
)
from rolehost_runtime.core.lorebook.checking import faults
from rolehost_runtime.core.prompt import estimate

EXTENSION = "rolehost.io"
"""Under `extensions` of a card or of an entry: what of a Role none of its own fields can say."""
MAX_READ = 4 * MAX_ENTRIES
"""Of a book's entries; those behind them stay in the card."""
_LOGIC = (LoreLogic.AND_ANY, LoreLogic.NOT_ALL, LoreLogic.NOT_ANY, LoreLogic.AND_ALL)
"""By SillyTavern's selectiveLogic."""
_PATTERN = re.compile(r"/(.{1,250})/([a-z]{0,8})", re.DOTALL)
_SAID = ("content", "keys", "secondKeys", "constant", "enabled", "order", "caseSensitive", "regex", "priority")
"""Fields that a card's entry has itself, under its own names."""
Json = Mapping[str, Any]
Fill = Callable[[str], str]


class Imported(NamedTuple):
    book: Lorebook
    places: tuple[int, ...]
    """Of each entry, the place of the one in the card that it was made of."""
    remarks: tuple[str, ...] = ()


def imported(book: Json | None, greetings: int, fill: Fill) -> Imported:
    """The lorebook that a card's book makes. What could never be told is left out; the card keeps it."""
    raws = entries_of(book)
    if book is None or not raws:
        return Imported(Lorebook(), ())
    names = _names(raws[:MAX_READ])
    read = [(place, _entry(raw, names[place], fill)) for place, raw in enumerate(raws[:MAX_READ])]
    kept: list[tuple[int, LoreEntry]] = []
    room = MAX_BOOK_CHARS
    for place, entry in read:
        room -= len(entry.content)
        if room >= 0 and len(kept) < MAX_ENTRIES:
            kept.append((place, entry))
    given = _whole(book.get("token_budget"), 0, 65_536)
    made = Lorebook(
        scan_depth=_whole(book.get("scan_depth"), 0, MAX_SCAN_DEPTH, DEFAULT_SCAN_DEPTH),
        token_budget=DEFAULT_BUDGET if given is None else given,
        recursive=book.get("recursive_scanning") is True,
        entries=tuple(entry for _, entry in kept),
    )
    bad = {fault.entry for fault in faults(made, greetings, estimate) if fault.entry is not None}
    kept = [one for number, one in enumerate(kept) if number not in bad]
    entries = tuple(entry for _, entry in kept)
    remarks = []
    if len(kept) < len(raws):
        remarks.append(
            f"Of its lorebook's {len(raws)} entries {len(raws) - len(kept)} could never be told, or come twice; the card "
            "keeps them."
        )
    constant = sum(estimate(entry.content) for entry in entries if entry.constant or "@@activate" in entry.content)
    if constant > made.token_budget:
        remarks.append(f"Its lorebook's budget is raised to {constant} tokens, which its constant entries take.")
    budget = min(65_536, max(made.token_budget, constant))
    return Imported(
        msgspec.structs.replace(made, entries=entries, token_budget=budget) if entries else Lorebook(),
        tuple(place for place, _ in kept),
        tuple(remarks),
    )


def entries_of(book: Json | None) -> list[Json]:
    """Its entries, whatever list or table they are in, and nothing that is none."""
    entries = book.get("entries") if isinstance(book, Mapping) else None
    found = list(entries.values()) if isinstance(entries, Mapping) else entries if isinstance(entries, list) else []
    return [one if isinstance(one, Mapping) else {} for one in found]


def exported(now: Lorebook, before: Imported, base: Json | None) -> dict[str, Any] | None:
    """The card's book for a lorebook that is another one than its card made; `base` is that card's book."""
    raws = entries_of(base)
    origin = {entry.id: (entry, raws[place]) for entry, place in zip(before.book.entries, before.places, strict=True)}
    entries = [_raw(entry, *origin.get(entry.id, (None, {}))) for entry in now.entries]
    left = [dict(raw) for place, raw in enumerate(raws) if place not in before.places]
    for _ in range(3):  # an id that is said may take another entry's
        names = _names([*entries, *left])
        wrong = [number for number, entry in enumerate(now.entries) if names[number] != entry.id]
        for number in wrong:
            _say(entries[number], {"id": now.entries[number].id})
        if not wrong:
            break
    book = copy.deepcopy(dict(base)) if isinstance(base, Mapping) else {"extensions": {}}
    if not isinstance(base, Mapping) and not entries:
        return None
    for name, value, old in (
        ("scan_depth", now.scan_depth, before.book.scan_depth),
        ("token_budget", now.token_budget, before.book.token_budget),
        ("recursive_scanning", now.recursive, before.book.recursive),
    ):
        if value != old or not before.book.entries:
            book[name] = value
    return {**book, "entries": [*entries, *left]}


def _raw(entry: LoreEntry, before: LoreEntry | None, raw: Json) -> dict[str, Any]:
    """A card's entry for one of ours: as it was where nothing was changed."""
    made = copy.deepcopy(dict(raw))
    if entry == before:
        return made
    made |= {
        "keys": list(entry.keys),
        "content": entry.content,
        "enabled": entry.enabled,
        "insertion_order": entry.order,
        "case_sensitive": entry.case_sensitive,
        "use_regex": entry.regex,
        "constant": entry.constant,
        "selective": bool(entry.second_keys),
        "secondary_keys": list(entry.second_keys),
        "position": "before_char" if entry.position is LorePosition.BEFORE_PERSONA else "after_char",
    }
    made.pop("priority", None)
    if entry.priority is not None:
        made["priority"] = entry.priority
    if before is None:
        made["name"] = entry.id
    fields = {name: value for name, value in _all(entry).items() if name not in _SAID}
    if not entry.regex and any(
        map(_PATTERN.fullmatch, entry.keys)
    ):  # words that look like one of SillyTavern's patterns
        fields["regex"] = False
    _say(made, fields)
    return made


_FIELDS = tuple((field.encode_name, field.name) for field in msgspec.structs.fields(LoreEntry))


def _all(entry: LoreEntry) -> dict[str, Any]:
    """Every field, those too that have their defaults."""
    return {said: msgspec.to_builtins(getattr(entry, name)) for said, name in _FIELDS}


def _say(raw: dict[str, Any], fields: Json) -> None:
    there = raw.get("extensions")
    extensions = dict(there) if isinstance(there, Mapping) else {}
    ours = extensions.get(EXTENSION)
    extensions[EXTENSION] = {**(ours if isinstance(ours, Mapping) else {}), **fields}
    raw["extensions"] = extensions


def _ours(raw: Json) -> Json:
    extensions = raw.get("extensions")
    ours = extensions.get(EXTENSION) if isinstance(extensions, Mapping) else None
    return ours if isinstance(ours, Mapping) else {}


# ── names ───────────────────────────────────────────────────────────────────────────


def _names(raws: Sequence[Json]) -> list[str]:
    """An id for each entry, all different: what an export of ours says, else made of its name, its comment or its key."""
    names: list[str] = []
    taken: set[str] = set()
    for raw in raws:
        said = str(_ours(raw).get("id", ""))[:65]
        names.append(said if _is_id(said) and said not in taken else "")
        taken.add(said)
    counts: dict[str, int] = {}
    for place, raw in enumerate(raws):
        if names[place]:
            continue
        keys = raw.get("keys")
        words = (raw.get("name"), raw.get("comment"), keys[0] if isinstance(keys, list) and keys else None)
        word = next((slug for text in words if isinstance(text, str) and (slug := _slug(text))), f"entry-{place + 1}")
        name = word
        while name in taken:
            counts[word] = counts.get(word, 1) + 1
            name = f"{word}-{counts[word]}"
        taken.add(name)
        names[place] = name
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text[:256].lower()).strip("-")[:48].strip("-")


def _is_id(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", name))


# ── one entry ───────────────────────────────────────────────────────────────────────


def _entry(raw: Json, name: str, fill: Fill) -> LoreEntry:
    there = raw.get("extensions")
    more: Json = there if isinstance(there, Mapping) else {}
    keys = _keys(raw.get("keys"))
    patterns = [_PATTERN.fullmatch(key) for key in keys]
    regex = raw.get("use_regex") is True or (any(patterns) and _ours(raw).get("regex") is not False)
    if regex and raw.get("use_regex") is not True:
        keys = tuple(_as_pattern(key, found) for key, found in zip(keys, patterns, strict=True))
    content = raw.get("content")
    selective = raw.get("selective") is True and raw.get("use_regex") is not True
    logic = more.get("selectiveLogic")
    entry = LoreEntry(
        id=name,
        content=fill(content)[:MAX_CONTENT_CHARS] if isinstance(content, str) else "",
        keys=keys,
        second_keys=_keys(raw.get("secondary_keys")) if selective else (),
        logic=_LOGIC[logic] if isinstance(logic, int) and 0 <= logic < len(_LOGIC) else LoreLogic.AND_ANY,
        regex=regex,
        case_sensitive=True in (raw.get("case_sensitive"), more.get("case_sensitive")),
        whole_words=more.get("match_whole_words") is not False,
        constant=raw.get("constant") is True and raw.get("use_regex") is not True,
        enabled=raw.get("enabled") is not False,
        order=_whole(raw.get("insertion_order"), -1_000_000, 1_000_000, 100),
        priority=_whole(raw.get("priority"), -1_000_000, 1_000_000),
        **_place(raw, more),
        scan_depth=_whole(more.get("scan_depth"), 0, MAX_SCAN_DEPTH),
        probability=_whole(more.get("probability"), 0, 100, 100) if more.get("useProbability") is not False else 100,
        after_replies=_turns(more.get("delay")),
        sticky_turns=_turns(more.get("sticky")),
        cooldown_turns=_turns(more.get("cooldown")),
        found_in=_source(more),
        finds_others=more.get("prevent_recursion") is not True,
    )
    ours = {field: value for field, value in _ours(raw).items() if field not in (*_SAID, "id")}
    if not ours:
        return entry
    try:
        return msgspec.convert({**_all(entry), **ours}, LoreEntry)
    except (msgspec.ValidationError, RecursionError):
        return entry


def _as_pattern(key: str, found: re.Match[str] | None) -> str:
    r"""A key of SillyTavern's that is `/a pattern/` with flags, or a plain one beside such.

    >>> _as_pattern("/drag(on|oon)/i", _PATTERN.fullmatch("/drag(on|oon)/i")), _as_pattern("2.0", None)
    ('(?i)drag(on|oon)', '2\\.0')
    """
    if found is None:
        return re.sub(r"([^\w\s])", r"\\\1", key, flags=re.ASCII)[:MAX_KEY_CHARS] if key.isascii() else key
    flags = "".join(sorted(set(found[2]) & set("ims")))
    return (f"(?{flags})" if "i" in flags else f"(?{flags}-i)") + found[1].replace("\\/", "/")


def _place(raw: Json, more: Json) -> dict[str, Any]:
    """Where it stands. SillyTavern says 0 before and 1 after the character, 4 among the messages, at `depth`."""
    where = more.get("position")
    if where == 4:
        speaker = LoreSpeaker.PERSONA if more.get("role") == 2 else LoreSpeaker.USER
        return {"position": LorePosition.AT_DEPTH, "depth": _whole(more.get("depth"), 0, 1_000, 4), "speaker": speaker}
    before = raw.get("position") == "before_char"
    return {"position": LorePosition.BEFORE_PERSONA if before else LorePosition.AFTER_PERSONA}


def _source(more: Json) -> LoreSource:
    if more.get("delay_until_recursion"):
        return LoreSource.ENTRIES
    return LoreSource.MESSAGES if more.get("exclude_recursion") is True else LoreSource.BOTH


def _keys(value: object) -> tuple[str, ...]:
    """A list, or texts with commas between them."""
    found: Iterable[object] = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else ()
    texts = (one.encode("utf-8", "replace").decode().strip() for one in found if isinstance(one, str))
    return tuple(text[:MAX_KEY_CHARS] for text in texts if text)[:MAX_KEYS]


def _whole(value: object, least: int, most: int, default: Any = None) -> Any:
    """A number within its bounds; `default` for what is none."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isnan(value))
    ):
        return default
    return int(max(least, min(most, value)))


def _turns(messages: object) -> int:
    """Turns for a number of messages, two of which are one."""
    return -(-int(_whole(messages, 0, TURNS, 0)) // 2)
