"""Words in a stream: the decision does not depend on where it is cut, and little is held back for it."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.core.safety.sieve import Sieve
from rolehost_runtime.core.safety.words import SLACK, Word, Words, word

RULES = (
    ("kill myself", "block", ""),
    ("damn*", "replace", "***"),
    ("foo 1#", "replace", "<n>"),
    ("aab", "replace", "b"),
    ("a a", "flag", ""),
    ("b", "flag", ""),
    ("龙王", "replace", "X"),
    ("ſtraße", "block", ""),
    ("#### ####", "replace", "#"),
)


def made(*rules: tuple[str, str, str]) -> Words:
    found = (
        word(entry, guard="g", category="Other", action=action, text=text)  # type: ignore[arg-type]
        for entry, action, text in rules
    )
    return Words(one for one in found if one is not None)


WORDS = made(*RULES)


def read(words: Words, *pieces: str) -> tuple[str, list[str], bool]:
    sieve = Sieve(words)
    out = [sieve.feed(piece) for piece in pieces] + [sieve.finish()]
    return "".join(out), [f"{one.symbols} {one.digits}" for one in sieve.struck], sieve.blocked is not None


def out_of(text: str, *rules: tuple[str, str, str]) -> str:
    return read(made(*rules), text)[0]


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("damned! DAMN it", "***! *** it"),
        ("goddamn", "goddamn"),
        ("foo 12 foo 22 foo 123 foo 1９", "<n> foo 22 foo 123 <n>"),
        ("看龙王来", "看X来"),
        ("aab aaab", "b aaab"),
        ("call 1234 5678.", "call #."),
        ("call 12345 5678.", "call 12345 5678."),
        ("I could kill  my\u200bself now", "I could "),
        ("Ｋｉｌｌ\u00a0MYSELF", ""),
        ("kill myselfish", "kill myselfish"),
        ("kill myself\u0301", "kill myself\u0301"),
        ("the STRASSE is", "the "),
    ],
)
def test_what_goes_out(text: str, out: str) -> None:
    assert read(WORDS, text)[0] == out


ALPHABET = "ab kilmyseflnodDw1234 龙王ſtraßeß\u200b\u0301\n"
PHRASES = st.sampled_from(["kill myself", "damn", "foo 12", "foo 1", "aab", "a a", "龙王", "straße", "1234 5678", " "])
TEXTS = st.lists(st.one_of(PHRASES, st.text(ALPHABET, max_size=6)), max_size=12).map("".join)


@given(TEXTS, st.lists(st.integers(0, 80), max_size=8))
def test_the_decision_does_not_depend_on_where_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert read(WORDS, *pieces) == read(WORDS, text)
    assert read(WORDS, *text) == read(WORDS, text)


@given(TEXTS)
def test_no_more_than_the_window_is_held_and_all_of_it_comes_out(text: str) -> None:
    blocking = made(*((entry, "block", "") for entry, *_ in RULES))
    for words in (WORDS, blocking):
        sieve = Sieve(words)
        out = ""
        for char in text:
            out += sieve.feed(char)
            assert sieve.held <= words.window == words.longest + SLACK
        out += sieve.finish()
        assert sieve.held == 0
        if not sieve.struck:
            assert out == text


LETTERS = st.text("abk l", max_size=14)


@given(st.lists(st.text("abk l", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=5), LETTERS)
def test_what_is_blocked_is_what_a_naive_search_finds(entries: list[str], text: str) -> None:
    """Against a slow reading of the same rule: whole words, any run of blanks a blank."""
    words = made(*((entry, "block", "") for entry in entries))
    patterns = [r"(?<!\w)" + r"\s+".join(map(re.escape, entry.split())) + r"(?!\w)" for entry in entries]
    naive = any(re.search(pattern, text) for pattern in patterns)
    assert (read(words, text)[2]) is naive


def test_nothing_is_held_where_nothing_may_begin() -> None:
    sieve = Sieve(WORDS)
    assert sieve.feed("The cat sat on the mat. ") == "The cat sat on the mat. "
    assert sieve.held == 0
    assert sieve.feed("I ki") == "I "
    assert sieve.feed("ss") == "kiss"


def test_a_word_with_a_crowd_of_invisible_characters_in_it_is_let_go_of() -> None:
    """What is folded away is not held without bound."""
    sieve = Sieve(WORDS)
    out = sieve.feed("kill" + "\u200b" * 10_000 + " myself")
    assert sieve.held <= WORDS.window
    assert (out + sieve.finish()).startswith("kill")


def test_what_is_only_flagged_is_not_held() -> None:
    sieve = Sieve(made(("dragon", "flag", "")))
    assert sieve.feed("a drag") == "a drag"
    assert sieve.feed("on") == "on"
    assert sieve.finish() == ""
    assert [one.symbols for one in sieve.struck] == ["\x01dragon"]


def test_a_text_after_a_text_begins_anew() -> None:
    sieve = Sieve(made(("kill myself", "block", "")))
    assert sieve.feed("kill") + sieve.finish() + sieve.feed(" myself") + sieve.finish() == "kill myself"


def test_of_two_that_end_together_the_longer_is_replaced() -> None:
    assert out_of("x big dog.", ("dog", "replace", "1"), ("big dog", "replace", "2")) == "x 2."


def test_a_word_is_told_once() -> None:
    assert isinstance(made(("b", "flag", "")).found[-1][0], Word)
    assert read(WORDS, "b b b")[1] == ["\x01b ()"]
