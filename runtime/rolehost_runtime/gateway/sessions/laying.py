"""The system's part of a prompt as an installed PromptTemplate words it, held to its protocol."""

from collections.abc import Sequence
from itertools import islice

from rolehost_api.link.messages import PersonaSegment, Segment, TextSegment
from rolehost_runtime.core.prompt import MAX_PROMPT_CHARS
from rolehost_runtime.plugins.prompts import LASTING, MAX_PARTS, Given, Part, PromptTemplate


class NotLaidOut(Exception):
    """The plugin failed, or what it said is no layout: why, by a code and never by its own words."""


def laid_out(
    template: PromptTemplate, segments: Sequence[Segment], persona: Sequence[str]
) -> tuple[Sequence[Segment], tuple[str, ...]]:
    """The segments and the persona, with the system's texts as the plugin has them. A question that names no persona is
    the logic's own and stays as it is. Raises NotLaidOut."""
    named = [one.index for one in segments if isinstance(one, PersonaSegment)]
    if not named or any(index >= len(persona) for index in named):
        return segments, tuple(persona)
    added = tuple(one.text for one in segments if isinstance(one, TextSegment) and one.speaker == "system")
    parts = _parts(template, Given("\n\n".join(persona[index] for index in named), added))
    stays, turn = ("\n\n".join(part.text for part in parts if part.lasts == lasts) for lasts in LASTING)
    rest = [
        one
        for one in segments
        if not isinstance(one, PersonaSegment) and not (isinstance(one, TextSegment) and one.speaker == "system")
    ]
    return (PersonaSegment(0), *([TextSegment("system", turn)] if turn else []), *rest), (stays,)


def _parts(template: PromptTemplate, given: Given) -> list[Part]:
    try:
        parts = list(islice(template.parts(given), MAX_PARTS + 1))
        sound = all(type(one.text) is str and one.lasts in LASTING for one in parts)
        size = sum(len(one.text) for one in parts)
    except Exception as error:
        raise NotLaidOut("prompt_plugin_failed") from error
    if not sound or len(parts) > MAX_PARTS or size > MAX_PROMPT_CHARS:
        raise NotLaidOut("prompt_plugin_invalid")
    return parts
