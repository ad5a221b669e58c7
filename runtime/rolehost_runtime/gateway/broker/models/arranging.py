"""A request as one model takes it: where it is told what goes for this turn only, and what keeps tenants apart. Pure."""

from dataclasses import replace

import msgspec

from rolehost_api.crd.modelbackend import CacheSalt, LateText
from rolehost_runtime.core.models.abilities import Able
from rolehost_runtime.core.models.caching import JOINT, salted
from rolehost_runtime.gateway.broker.models.openings import Openings
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest

HEADER, FOOTER = "[For this answer. The user did not say it:]", "[What the user says:]"

OURS = ("prompt_cache_key", "cache_salt")
"""A Role that chose these itself could join what the server keeps of another tenant's prompts."""


def arranged(request: ModelRequest, able: Able, openings: Openings | None = None) -> ModelRequest:
    """The same request for a model that is so able. No message of it is `late` any more. `openings` knows words that
    other calls began with.

    >>> said = [ModelMessage("system", "Cat."), ModelMessage("user", "Hi"), ModelMessage("assistant", "Meow")]
    >>> said += [ModelMessage("system", "It rains.", late=True), ModelMessage("user", "So?")]
    >>> request = ModelRequest("m", said, {}, None, "uid", stable_chars=4, steady=3, cache_key="0f")
    >>> for where in LateText:
    ...     [one.content for one in arranged(request, Able(late_text=where, cache_salt=CacheSalt.NONE)).messages]
    ['Cat.', 'Hi', 'Meow', 'It rains.', 'So?']
    ['Cat.', 'Hi', 'Meow', '[For this answer. The user did not say it:]\\nIt rains.\\n[What the user says:]\\n\\nSo?']
    ['Cat.\\n\\nIt rains.', 'Hi', 'Meow', 'So?']
    >>> salted = arranged(request, Able())
    >>> salted.messages[0].content, salted.stable_chars, salted.steady
    ('[0f]\\n\\nCat.', 10, 3)
    """
    said, stable, steady = list(request.messages), request.stable_chars, request.steady
    opening = said.pop(0).content if said and said[0].role == "system" and not said[0].late else ""
    was_open = bool(opening)
    if able.late_text is LateText.OPENING and any(one.late for one in said):
        opening = JOINT.join(filter(None, (opening, *(one.content for one in said if one.late))))
        said = [one for one in said if not one.late]
        steady = 0
    with_salt = bool(request.cache_key) and able.cache_salt is CacheSalt.PROMPT
    raw: msgspec.Raw | None = None
    if openings is not None and request.cache_key and opening and stable == len(opening):
        opening, raw = openings.of(request.cache_key, opening, with_salt=with_salt)
    elif with_salt:
        opening = salted(opening, request.cache_key)
    if with_salt and stable:
        stable += len(salted("x", request.cache_key)) - 1
    if opening and not was_open and steady:
        steady += 1
    head = [ModelMessage("system", opening, raw=raw)] if opening else []
    placed, alone = _placed(said, able)
    return replace(
        request,
        messages=[*head, *placed],
        params={name: value for name, value in request.params.items() if name not in OURS},
        stable_chars=stable,
        steady=min(steady, len(head) + alone),
    )


def _placed(said: list[ModelMessage], able: Able) -> tuple[list[ModelMessage], int]:
    """What was late is in the user's message, or a message of the system's own; joined with a neighbour of that speaker.
    And how many of them stand before the first that was joined."""
    placed: list[ModelMessage] = []
    is_late, alone = False, len(said)
    for one in said:
        was_late, is_late = is_late, one.late
        if is_late:
            in_message = able.late_text is LateText.MESSAGE
            one = ModelMessage("user", noted(one.content)) if in_message else replace(one, late=False)
        if placed and (is_late or was_late) and placed[-1].role == one.role:
            placed[-1] = replace(one, content=JOINT.join((placed[-1].content, one.content)))
            alone = min(alone, len(placed) - 1)
        else:
            placed.append(one)
    return placed, alone


def noted(text: str) -> str:
    """What the system says in the user's message.

    >>> noted("Be brief.")
    '[For this answer. The user did not say it:]\\nBe brief.\\n[What the user says:]'
    """
    return f"{HEADER}\n{text}\n{FOOTER}"
