"""What a card says: one reading of V1, V2 and V3, forgiving of fields that are missing or of another type."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rolehost_api.errors import BadRequest

Version = Literal["V1", "V2", "V3"]
SPECS: Mapping[str, Version] = {"chara_card_v2": "V2", "chara_card_v3": "V3"}
V2_TEXTS = ("system_prompt", "post_history_instructions", "creator_notes")
V1_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")


@dataclass(frozen=True, slots=True)
class Card:
    version: Version
    name: str
    nickname: str = ""
    """V3: what the character is called in the conversation, where that is not its name."""
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_mes: str = ""
    mes_example: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    alternate_greetings: tuple[str, ...] = ()
    creator_notes: str = ""
    """For people; the model is not told them."""
    book: Mapping[str, Any] | None = None
    """Its `character_book`, as it is."""

    @property
    def called(self) -> str:
        """What `{{char}}` stands for."""
        return self.nickname or self.name


def card(document: Mapping[str, Any]) -> Card:
    """Raises BadRequest `invalid_card` where it is none, or has no name."""
    version, data = data_of(document)
    name = _text(data, "name").strip()
    if not name:
        raise BadRequest("the card has no name", hint="Give it one where it was made", code="invalid_card")
    greetings = data.get("alternate_greetings")
    book = data.get("character_book")
    return Card(
        version,
        name,
        nickname=_text(data, "nickname").strip(),
        alternate_greetings=tuple(_sound(text) for text in greetings if isinstance(text, str))
        if isinstance(greetings, list)
        else (),
        book=book if isinstance(book, dict) else None,
        **{field: _text(data, field) for field in (*V1_FIELDS[1:], *V2_TEXTS)},
    )


def data_of(document: Mapping[str, Any]) -> tuple[Version, Mapping[str, Any]]:
    """Which version it is, and the object with its fields: `data`, or all of it in V1. Raises BadRequest `invalid_card`."""
    spec = document.get("spec")
    if spec is None and any(field in document for field in V1_FIELDS[1:]):
        return "V1", document
    version = SPECS.get(spec) if isinstance(spec, str) else None
    data = document.get("data")
    if version is None or not isinstance(data, dict):
        raise BadRequest(
            "the file is no character card of version 1, 2 or 3",
            hint='A card says "spec": "chara_card_v2" or "chara_card_v3", and has its fields under "data"',
            code="invalid_card",
        )
    return version, data


def _text(data: Mapping[str, Any], field: str) -> str:
    value = data.get(field)
    return _sound(value) if isinstance(value, str) else ""


def _sound(text: str) -> str:
    """Without halves of surrogate pairs, which some cards hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
