"""BERT's WordPiece without case (Devlin et al. 2018): text to numbers of pieces of words. Pure."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

MAX_WORD = 100
"""Characters; a longer word is unknown."""
UNKNOWN, BEGIN, END = "[UNK]", "[CLS]", "[SEP]"


class WordPiece:
    """
    >>> tiny = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "drag", "##on", "##s", "cafe", "!"])
    >>> tiny.numbers("Dragons! Café, 龙", 16)
    [2, 4, 5, 6, 8, 7, 1, 1, 3]
    >>> tiny.numbers("Dragons!", 4)
    [2, 4, 5, 3]
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Pieces by their number. Raises ValueError where one that is always needed is not among them."""
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}
        missing = [piece for piece in (UNKNOWN, BEGIN, END) if piece not in self._numbers]
        if missing:
            raise ValueError(f"no vocabulary of BERT: it lacks {', '.join(missing)}")
        self._longest = max(map(len, vocabulary))

    def numbers(self, text: str, most: int) -> list[int]:
        """At most `most` of them, the first and the last among them being the text's begin and end. What is too much is
        cut off at the end."""
        found = [self._numbers[BEGIN]]
        for word in words(text):
            found += self._pieces(word)
            if len(found) >= most:
                break
        return [*found[: most - 1], self._numbers[END]]

    def _pieces(self, word: str) -> list[int]:
        """The longest piece first, then the longest of the rest; unknown as a whole where that does not come out."""
        if len(word) > MAX_WORD:
            return [self._numbers[UNKNOWN]]
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                number = self._numbers.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return [self._numbers[UNKNOWN]]
            found.append(number)
            start = end
        return found


def words(text: str) -> Iterator[str]:
    """Lower case, without accents; a sign of punctuation or a Chinese character is a word of its own.

    >>> list(words("Don't STOP，naïve\\u200b 讲故事"))
    ['don', "'", 't', 'stop', '，', 'naive', '讲', '故', '事']
    """
    word: list[str] = []
    for sign in _plain(text):
        apart = sign.isspace() or _alone(sign)
        if not apart:
            word.append(sign)
            continue
        if word:
            yield "".join(word)
            word = []
        if not sign.isspace():
            yield sign
    if word:
        yield "".join(word)


def _plain(text: str) -> Iterable[str]:
    kept = (" " if sign in "\t\n\r" or unicodedata.category(sign) == "Zs" else sign for sign in text if not _void(sign))
    decomposed = unicodedata.normalize("NFD", "".join(kept))
    return (low for sign in decomposed if unicodedata.category(sign) != "Mn" for low in sign.lower())


def _void(sign: str) -> bool:
    """Control signs and what stands for bytes that could not be read."""
    if sign in "\t\n\r":
        return False
    return sign in "\x00\ufffd" or unicodedata.category(sign).startswith("C")


def _alone(sign: str) -> bool:
    code = ord(sign)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(sign).startswith("P") or any(first <= code <= last for first, last in CHINESE)


CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Where ideographs are; written words of Japanese and Korean are not among them."""
