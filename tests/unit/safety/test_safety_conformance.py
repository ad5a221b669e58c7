"""The suite for guards finds what is no guard, and passes what is."""

from collections.abc import Sequence

import pytest

from rolehost_runtime.core.safety.conformance import broken
from rolehost_runtime.core.safety.guards import Objection, Stage
from rolehost_runtime.core.safety.sieve import Sieve
from rolehost_runtime.core.safety.words import Words, word


class Rules:
    """The platform's own rules, as a guard of whole texts."""

    name = "rules"

    def __init__(self) -> None:
        found = word("dragon", guard=self.name, category="Other", action="block")
        self._words = Words([found] if found else [])

    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        sieve = Sieve(self._words)
        sieve.feed(text)
        sieve.finish()
        return [Objection(one.category, one.action) for one in sieve.struck]


class Moody(Rules):
    def __init__(self) -> None:
        super().__init__()
        self._times = 0

    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        self._times += 1
        return [Objection("Other", "flag")] if self._times % 2 else []


class Chatty(Rules):
    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        if "plugh" in text:
            raise ValueError(f"cannot judge {text}")
        return []


class Wild(Rules):
    name = "Wild Guard"

    def __init__(self, objection: Objection = Objection("Rude", "flag")) -> None:  # noqa: B008 - frozen
        super().__init__()
        self._objection = objection

    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        return [self._objection]


async def test_rules_are_a_guard() -> None:
    assert await broken(Rules(), "a DRAGON") == []


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        (Moody(), "two ways"),
        (Chatty(), "repeats what it was shown"),
        (Wild(), "a category that there is not"),
        (Wild(Objection("Other", "replace", 5, 5)), "a part that is not there"),
        (Wild(Objection("Other", "shout")), "no action"),  # type: ignore[arg-type]
        (Wild(), "no DNS label"),
        (Chatty(), "nothing against"),
    ],
)
async def test_what_is_none_is_told_why(guard: Rules, said: str) -> None:
    assert any(said in fault for fault in await broken(guard, "a dragon"))
