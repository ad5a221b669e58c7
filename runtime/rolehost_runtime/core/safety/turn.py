"""One turn under rules: what is let in, what goes out, and what was decided."""

from typing import NamedTuple

from rolehost_runtime.core.safety.compiling import Compiled
from rolehost_runtime.core.safety.crisis import CATEGORY
from rolehost_runtime.core.safety.guards import MAX_DECISIONS, Action, Decision, Stage
from rolehost_runtime.core.safety.sieve import Sieve
from rolehost_runtime.core.safety.words import Word, Words

PAUSE = "\n\n"
"""Between what was sent and the refusal."""


class LetIn(NamedTuple):
    """What becomes of a message."""

    text: str
    """As the turn knows it."""
    reply: str | None = None
    """Said in place of an answer: the message was not let in."""


class RuledTurn:
    """However often the turn runs. `holds`: whole texts are judged by somebody else too, and nothing of one goes out
    before `release`."""

    def __init__(self, safety: Compiled, *, holds: bool = False) -> None:
        self.decisions: list[Decision] = []
        self.shut = False
        """Nothing of this turn goes out any more."""
        self._safety, self._holds = safety, holds
        self._sieve: Sieve | None = None
        self._held: list[str] = []
        self._sent = False

    # ── in ──────────────────────────────────────────────────────────────────────────

    def let_in(self, message: str) -> LetIn:
        """Judge what a user said: first whether somebody is in danger."""
        for words in self._safety.crisis:
            if (found := _through(words, message)[0].blocked) is not None:
                return LetIn(message, self.refuse(found))
        if self._safety.input is None:
            return LetIn(message)
        sieve, text = _through(self._safety.input, message)
        self._struck(sieve, "input")
        if sieve.blocked is not None:
            return LetIn(message, self.refuse(sieve.blocked))
        return LetIn(text)

    def clean(self, message: str) -> bool:
        """Whether no rule has anything to say about a message."""
        words = self._safety.crisis if self._safety.input is None else (*self._safety.crisis, self._safety.input)
        return not any(_through(one, message)[0].struck for one in words)

    def refuse(self, found: Word) -> str:
        """The message is not let in, as `found`; what is said in place of an answer."""
        crisis = found.category == CATEGORY and bool(self._safety.crisis_reply)
        self.decide(found.guard, "input", found.category, "crisis" if crisis else "block")
        self.shut = True
        return self._safety.reply(found)

    # ── out ─────────────────────────────────────────────────────────────────────────

    def say(self, text: str) -> str:
        """A piece of the reply → what may go out now."""
        if self.shut:
            return ""
        if self._safety.output is not None:
            if self._sieve is None:
                self._sieve = Sieve(self._safety.output)
            text = self._sieve.feed(text)
            if self._sieve.blocked is not None:
                return self._blocked(self._sieve, text)
        return self._passed(text)

    def end(self) -> str:
        """A text is over: an answer, or what the logic said before one. What of it goes out now."""
        if self.shut or self._sieve is None:
            return ""
        sieve, self._sieve = self._sieve, None
        text = sieve.finish()
        if sieve.blocked is not None:
            return self._blocked(sieve, text)
        self._struck(sieve, "output")
        return self._passed(text)

    @property
    def held(self) -> str:
        """The text that is over, and that somebody else has yet to judge."""
        return "".join(self._held)

    def release(self, text: str) -> str:
        """It was judged, and goes out as `text`."""
        self._held.clear()
        self._sent = self._sent or bool(text)
        return text

    def cut(self, guard: str, category: str, before: str = "") -> str:
        """The reply ends here: what was sent stays, and after it comes `before` and the refusal."""
        self.decide(guard, "output", category, "block")
        self.shut = True
        self._held.clear()
        refusal = self._safety.refusal
        return before + (PAUSE if refusal and (self._sent or before) else "") + refusal

    def _passed(self, text: str) -> str:
        if self._holds:
            self._held.append(text)
            return ""
        self._sent = self._sent or bool(text)
        return text

    def _blocked(self, sieve: Sieve, text: str) -> str:
        self._struck(sieve, "output")
        found = sieve.blocked
        assert found is not None
        return self.cut(found.guard, found.category, "" if self._holds else text)

    # ── what was decided ────────────────────────────────────────────────────────────

    def _struck(self, sieve: Sieve, stage: Stage) -> None:
        """Of what did not end the text."""
        for found in sieve.struck:
            if found.action != "block":
                self.decide(found.guard, stage, found.category, found.action)

    def decide(self, guard: str, stage: Stage, category: str, action: Action) -> None:
        """Keep it, once; what ended a text is worth more than what it was flagged for."""
        decision = Decision(guard, stage, category, action)
        if decision in self.decisions:
            return
        if len(self.decisions) >= MAX_DECISIONS:
            if action in ("flag", "replace"):
                return
            self.decisions.pop()
        self.decisions.append(decision)


def _through(words: Words, text: str) -> tuple[Sieve, str]:
    sieve = Sieve(words)
    return sieve, sieve.feed(text) + sieve.finish()
