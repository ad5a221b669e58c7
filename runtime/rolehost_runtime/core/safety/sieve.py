"""A text that streams, without what must not be in it.

The decision does not depend on where the stream cuts the text: it is made symbol by symbol. Held back is only what may
still become a word that is blocked or replaced, `Words.window` characters at most; mostly nothing.

    blocked    the word and all after it do not go out; what went out before it stays
    replaced   the word that ends first, of those that end there the longest; reading goes on after it
    flagged    it goes out, and is told
"""

from collections import deque
from typing import NamedTuple

from rolehost_runtime.core.safety.folding import FOLDS, MAX_KNOWN, is_mark, is_spaced
from rolehost_runtime.core.safety.words import BEGIN, DIGIT, Word, Words, is_digit


class _Plain(dict[str, tuple[str, bool, bool] | None]):
    """Character → its symbol, whether it is part of a spaced word, and whether it is blank. None for what takes a closer
    look: what is folded to none or several, and what belongs to the character before it."""

    def __missing__(self, char: str) -> tuple[str, bool, bool] | None:
        folded = FOLDS[char]
        found = None
        if len(folded) == 1 and not is_mark(folded):
            found = (DIGIT if is_digit(folded) else folded, is_spaced(folded), folded == " ")
        if len(self) < MAX_KNOWN:
            self[char] = found
        return found


PLAIN = _Plain()


class _Hit(NamedTuple):
    word: Word
    start: int
    """Place in the text of its first character."""
    end: int
    """And of its last."""


class Sieve:
    """One text. `feed` it, then `finish`."""

    def __init__(self, words: Words) -> None:
        self.blocked: Word | None = None
        """What ended the text."""
        self.struck: list[Word] = []
        """What was found, in order; a Word is in it once."""
        self._words = words
        self._out: list[str] = []
        self._held: list[str] = []
        self._base = 0
        """Place of the first character that is held; of the next one, where none is."""
        self._restart()

    def _restart(self) -> None:
        self._node = 0
        self._trail: deque[tuple[int, str]] = deque(maxlen=self._words.longest + 1)
        """Place and folded character of each symbol that was read last."""
        self._pending: list[_Hit] = []
        """Words that were found, unless they go on."""
        self._spaced = self._blank = self._swallowing = False

    @property
    def held(self) -> int:
        """Characters that are held back."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """What may go out now, in order. Empty once the text is blocked."""
        place, end = 0, len(text)
        while place < end and self.blocked is None:
            if not (self._node or self._held or self._swallowing):
                begin, place = place, self._skip(text, place, end)
                if place > begin:
                    self._out.append(text[begin:place])
                    self._base += place - begin
                    continue
            self._take(text[place])
            place += 1
        return self._emitted()

    def _skip(self, text: str, place: int, end: int) -> int:
        """Past what no word begins with: most of any text."""
        first, root = self._words.first, self._words.goto[0]
        spaced, blank = self._spaced, self._blank
        while place < end:
            plain = PLAIN[text[place]]
            if plain is None:
                break
            symbol, now, is_blank = plain
            if (not spaced and symbol in first) if now else symbol in root:  # within a word none begins
                break
            spaced, blank = now, is_blank
            place += 1
        self._spaced, self._blank = spaced, blank
        return place

    def finish(self) -> str:
        """The rest: the text ends here. What is fed after it is another text."""
        if self.blocked is None:
            self._settle("")
        if self.blocked is None:
            self._out += self._held
            self._base += len(self._held)
            self._held.clear()
            self._restart()
        return self._emitted()

    def _emitted(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text

    def _take(self, char: str) -> None:
        folded = FOLDS[char]
        if self._swallowing:
            if not folded or is_spaced(folded[0]) or is_mark(folded[0]):
                self._base += 1
                return
            self._swallowing = False
        place = self._base + len(self._held)
        self._held.append(char)
        for one in folded:
            if one == " " and self._blank:
                continue
            if self._pending:
                self._settle(one)
            if self.blocked is None:
                self._read(one, place)
            if self.blocked is not None or self._swallowing:
                return
        self._release()

    def _read(self, one: str, place: int) -> None:
        now = is_spaced(one)
        if now and not self._spaced:
            self._step(BEGIN, "", place)
        self._spaced, self._blank = now, one == " "
        self._step(DIGIT if is_digit(one) else one, one, place)

    def _step(self, symbol: str, one: str, place: int) -> None:
        self._node = self._words.step(self._node, symbol)
        self._trail.append((place, one))
        found = self._words.found[self._node]
        if not found:
            return
        hits = [
            _Hit(word, self._trail[-len(word.symbols)][0], place)
            for word in found
            if all(self._trail[-back][1] == digit for back, digit in word.digits)
        ]
        self._pending = [hit for hit in hits if not hit.word.open_end]
        self._strike([hit for hit in hits if hit.word.open_end])

    def _settle(self, following: str) -> None:
        """Whether words end where they were found to end; `following` is empty where the text does."""
        hits, self._pending = self._pending, []
        if following and is_mark(following):
            return
        goes_on = bool(following) and is_spaced(following)
        self._strike([hit for hit in hits if not (goes_on and hit.word.spaced_end)])

    def _strike(self, hits: list[_Hit]) -> None:
        for hit in hits:
            if hit.word.action == "block":
                self._note(hit.word)
                self._out += self._held[: max(0, hit.start - self._base)]
                self._held.clear()
                self.blocked = hit.word
                return
        for hit in hits:
            if hit.word.action == "flag":
                self._note(hit.word)
        for hit in hits:
            if hit.word.action == "replace":
                self._note(hit.word)
                self._replace(hit)
                return

    def _replace(self, hit: _Hit) -> None:
        """Reading begins anew behind it."""
        self._out += self._held[: max(0, hit.start - self._base)]
        self._out.append(hit.word.text)
        self._held = self._held[hit.end + 1 - self._base :]
        self._base = hit.end + 1
        spaced, blank = self._spaced, self._blank
        self._restart()
        self._spaced, self._blank, self._swallowing = spaced, blank, hit.word.open_end

    def _note(self, word: Word) -> None:
        if word not in self.struck:
            self.struck.append(word)

    def _release(self) -> None:
        hold = self._words.hold[self._node]
        first = self._trail[-hold][0] if hold else self._base + len(self._held)
        if len(self._held) > self._words.window:
            first = self._base + len(self._held)
            spaced, blank = self._spaced, self._blank
            self._restart()
            self._spaced, self._blank = spaced, blank
        count = first - self._base
        if count > 0:
            self._out += self._held[:count]
            del self._held[:count]
            self._base = first
