"""What an author of a PromptTemplate needs: a protocol over what a prompt is made of.

    class Letter:
        rolehost_protocol = 1

        def parts(self, given: Given) -> Iterable[Part]:
            yield Part(f"Dear model,\\n\\n{given.persona}", "revision")
            for text in given.added:
                yield Part(text, "turn")

It is named in the group `rolehost.prompt_templates`. Conformance: `rolehost_runtime.conformance.prompts`.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

Lasts = Literal["revision", "turn"]
"""How long a part of the prompt stays as it is. What stays is told above the conversation, the rest below it."""
LASTING: tuple[Lasts, ...] = ("revision", "turn")
MAX_PARTS = 256


class Given(NamedTuple):
    """What the system's part of a prompt is made of."""

    persona: str
    """Of the revision: with its examples, and what its lorebook always tells."""
    added: tuple[str, ...] = ()
    """What the graph's node, the logic and the lorebook say in this turn."""


class Part(NamedTuple):
    text: str
    lasts: Lasts


class PromptTemplate(Protocol):
    def parts(self, given: Given) -> Iterable[Part]:
        """The parts in their order, those that last longest first: all that comes before the first change is found in the
        model server's cache. The same given has the same parts, always: no clock, no chance, no I/O. At most MAX_PARTS.
        A part that lasts for the revision says nothing of `added`.
        """
