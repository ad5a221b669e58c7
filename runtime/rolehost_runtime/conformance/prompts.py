"""What any PromptTemplate must do."""

import pytest

from rolehost_runtime.plugins.prompts import LASTING, MAX_PARTS, Given, Part, PromptTemplate

PERSONAS = ("You are a cat.", "Sei una gatta.\n\n{{ persona }} {% endif %}", "x" * 65_536, "")
ADDED = ((), ("Ask one question. {0} %s",), ("It rains.", "Ann fears spiders.", "{added}"))
MOST = 3
"""The text may be so many times as long as what it is made of, and 4,096 characters more."""


class PromptTemplateConformance:
    """Override `make`."""

    def make(self) -> PromptTemplate:
        raise NotImplementedError("return your PromptTemplate")

    @pytest.mark.parametrize("persona", PERSONAS, ids=lambda text: text[:12])
    def test_parts_come_in_the_order_of_how_long_they_stay(self, persona: str) -> None:
        for given in _givens(persona):
            parts = list(self.make().parts(given))
            assert len(parts) <= MAX_PARTS
            assert all(type(part.text) is str and part.lasts in LASTING for part in parts)
            order = [LASTING.index(part.lasts) for part in parts]
            assert order == sorted(order), "what changes more often comes later"
            size = len(given.persona) + sum(map(len, given.added))
            assert sum(len(part.text) for part in parts) <= MOST * size + 4096

    def test_the_same_again_is_the_same(self) -> None:
        for persona in PERSONAS:
            for given in _givens(persona):
                first, other = self.make(), self.make()
                assert list(first.parts(given)) == list(first.parts(given)) == list(other.parts(given))

    def test_what_is_said_to_stay_does(self) -> None:
        for persona in PERSONAS[:2]:
            made = [list(self.make().parts(given)) for given in _givens(persona)]
            assert len({_of(parts, "revision") for parts in made}) == 1, "whatever the turn, the revision's part is one"

    def test_what_it_is_given_is_told(self) -> None:
        told = "\n".join(part.text for part in self.make().parts(Given("You are a cat.", ("Purr.", "It rains."))))
        for text in ("You are a cat.", "Purr.", "It rains."):
            assert text in told

    def test_what_it_is_given_is_no_template_itself(self) -> None:
        hostile = "{{ 7 * 7 }} {% for x in range(9) %}{{ x }}{% endfor %} {persona} %(persona)s ${persona}"
        told = "\n".join(part.text for part in self.make().parts(Given("You are a cat.", (hostile,))))
        assert hostile in told


def _givens(persona: str) -> list[Given]:
    return [Given(persona, added) for added in ADDED]


def _of(parts: list[Part], lasts: str) -> tuple[str, ...]:
    return tuple(part.text for part in parts if part.lasts == lasts)
