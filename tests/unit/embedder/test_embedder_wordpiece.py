"""WordPiece over the vocabulary that is shipped; the numbers were recorded from Hugging Face's tokenizers 0.23.3."""

from importlib.resources import files

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rolehost_runtime.embedder.wordpiece import WordPiece

SHIPPED = files("rolehost_runtime.embedder").joinpath("vocabulary.txt").read_text(encoding="utf-8")
PIECES = WordPiece(SHIPPED.removesuffix("\n").split("\n"))


CASES = [
    ("", [101, 102]),
    ("Hello, World! caf\xe9 na\xefve", [101, 7592, 1010, 2088, 999, 7668, 15743, 102]),
    ("\u8bb2\u4e00\u4e2a\u6545\u4e8b \U0001f409 x", [101, 100, 1740, 100, 100, 1751, 100, 1060, 102]),
    ("don't  stop\tnow\u200b\xad \ufeffok", [101, 2123, 1005, 1056, 2644, 2085, 7929, 102]),
    ("\u0130stanbul \u01c5 \ufb01", [101, 9960, 100, 1984, 102]),
    (
        "\u03a9\u2103\xbd \u304c \ud55c\uad6d\uc5b4",
        [101, 100, 1651, 1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 102],
    ),
    ("a" * 101 + " b", [101, 100, 1038, 102]),
    ("antidisestablishmentarianism", [101, 3424, 10521, 4355, 7875, 13602, 3672, 12199, 2964, 102]),
    ("$5.00 + 7% = `x` ~ ^", [101, 1002, 1019, 1012, 4002, 1009, 1021, 1003, 1027, 1036, 1060, 1036, 1066, 1034, 102]),
    ("\x00\ufffd", [101, 102]),
]


@pytest.mark.parametrize(("text", "numbers"), CASES)
def test_it_is_cut_as_the_model_was_taught(text: str, numbers: list[int]) -> None:
    assert PIECES.numbers(text, 256) == numbers


@given(st.text(max_size=300), st.integers(2, 40))
def test_whatever_the_text_it_is_bounded_and_has_both_ends(text: str, most: int) -> None:
    numbers = PIECES.numbers(text, most)
    assert 2 <= len(numbers) <= most
    assert (numbers[0], numbers[-1]) == (101, 102)
    assert all(0 <= number < 30_522 for number in numbers)


def test_a_vocabulary_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[CLS\]"):
        WordPiece(["[UNK]", "x"])
