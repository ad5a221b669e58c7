"""All keys in one pass: as looking for each by itself would find them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.lorebook import Lorebook, LoreEntry
from rolehost_runtime.core.lorebook import patterns
from rolehost_runtime.core.lorebook.compiling import MAX_SCANNED_CHARS, Compiled
from rolehost_runtime.core.lorebook.matching import Automaton, pieces

WORDS = st.text(alphabet="aab ü.龙한1_-", min_size=1, max_size=8)


def spaced(char: str) -> bool:
    return (char.isalnum() or char == "_") and (char < "\u0e00" or "\uac00" <= char <= "\ud7a3")


def contains(text: str, key: str) -> bool:
    """A key by itself, as words: neither of its ends stands within a word of the text."""
    start = text.find(key)
    while start >= 0:
        end = start + len(key)
        left, right = text[start - 1 : start] if start else "", text[end : end + 1]
        joined = (left and spaced(left) and spaced(key[0])) or (right and spaced(right) and spaced(key[-1]))
        if not joined:
            return True
        start = text.find(key, start + 1)
    return False


@given(st.lists(WORDS, max_size=12), st.text(alphabet="aab ü.龙한1_-", max_size=60))
def test_one_pass_finds_what_looking_for_each_key_finds(keys: list[str], text: str) -> None:
    words = Automaton((number, pieces(key)) for number, key in enumerate(keys))
    parts = Automaton(enumerate(keys))
    assert words.found(pieces(text)) == {number for number, key in enumerate(keys) if contains(text, key)}
    assert parts.found(text) == {number for number, key in enumerate(keys) if key in text}


@given(st.text())
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def found(text: str, **entry: object) -> bool:
    book = Compiled(Lorebook(entries=(LoreEntry(id="x", content="X", **entry),)), len)  # type: ignore[arg-type]
    return bool(book.depths([text]))


@pytest.mark.parametrize(
    ("entry", "there", "not_there"),
    [
        ({"keys": ("Cat",)}, "the CAT sat", "catch"),
        ({"keys": ("Cat",), "case_sensitive": True}, "Cat!", "cat"),
        ({"keys": ("cat",), "whole_words": False}, "CATCH", "c at"),
        ({"keys": ("Cat",), "whole_words": False, "case_sensitive": True}, "Catch", "catch"),
        ({"keys": ("龙",)}, "恐龙来了", "虎"),
        ({"keys": ("gull point",)}, "at Gull Point.", "gull  point"),
        ({"keys": ("straße",)}, "STRASSE 4", "strasses"),
        ({"keys": (r"drag(on|oon)s?",), "regex": True}, "a Dragoon", "drag on"),
        ({"keys": (r"Dragon",), "regex": True, "case_sensitive": True}, "Dragon", "dragon"),
        ({"keys": (r"[龙虎]$",), "regex": True}, "恐龙", "龙来"),
    ],
)
def test_keys_are_found_as_their_entry_wants_it(entry: dict[str, object], there: str, not_there: str) -> None:
    assert found(there, **entry)
    assert not found(not_there, **entry)


@pytest.mark.parametrize("pattern", ["(a", r"(a)\1", "(?=a)b", "a{1000}{1000}", "(a?){500}", "\ud800"])
def test_what_is_no_pattern_or_too_large_is_never_found(pattern: str) -> None:
    with pytest.raises(patterns.InvalidPattern):
        patterns.compiled(pattern)
    assert not found("a" * 2_000, keys=(pattern,), regex=True)


def test_patterns_of_a_book_are_bounded_together() -> None:
    entries = tuple(LoreEntry(id=f"e{i}", content="x", keys=(f"({i}|b){{50}}c",), regex=True) for i in range(100))
    assert 0 < len(Compiled(Lorebook(entries=entries), len)._searches) < 20


def test_the_worst_patterns_and_keys_take_a_bounded_time() -> None:
    """What takes a backtracking matcher longer than the universe, and what makes a naive loop look everywhere again."""
    evil = [r"(a+)+$", r"(a|aa)+$", r"(.*a){20}", r"([a-z]+)*x"]
    entries = [LoreEntry(id=f"p{i}", content="x", keys=(key,), regex=True) for i, key in enumerate(evil)]
    entries += [
        LoreEntry(
            id=f"k{i}", content="x", keys=("a" * (i % 200 + 1) + "b", "a " * (i % 100) + "a"), whole_words=i % 2 == 0
        )
        for i in range(400)
    ]
    book = Compiled(Lorebook(entries=tuple(entries)), len)
    book.depths(["a" * MAX_SCANNED_CHARS])
    book.depths(["a " * MAX_SCANNED_CHARS])
    assert book.depths([("a " * 300 + "b ") * 20])  # within the time that any test has


def test_no_more_than_the_newest_characters_are_looked_at() -> None:
    book = Compiled(Lorebook(scan_depth=100, entries=(LoreEntry(id="x", content="X", keys=("old",)),)), len)
    assert book.depths(["old" + " y" * (MAX_SCANNED_CHARS // 2)]) == {}
    assert book.depths(["y", "old"]) == {0: 2}
    assert book.depths([" y" * (MAX_SCANNED_CHARS // 2), "old"]) == {}
