"""From a file's bytes to the card in it, by what the bytes are and not by the file's name."""

import json
from enum import Enum
from typing import Any, NamedTuple

from rolehost.cards import charx, png
from rolehost_api.errors import BadRequest

MAX_FILE_BYTES = 64 << 20
MAX_DEPTH = 64


class Container(Enum):
    JSON = "json"
    PNG = "png"
    CHARX = "charx"


class Found(NamedTuple):
    """A card as it lay in its file."""

    container: Container
    document: dict[str, Any]
    """The JSON, whole, with every field that we do not know."""


def read(file: bytes) -> Found:
    """The card in `file`. Of a PNG with a V3 and a V2 card, the V3. Raises BadRequest `invalid_card`."""
    if len(file) > MAX_FILE_BYTES:
        raise BadRequest(f"the file is over {MAX_FILE_BYTES >> 20} MiB", code="invalid_card")
    if file.startswith(png.SIGNATURE):
        texts = png.texts(file)
        text = texts.get(png.V3, texts.get(png.V2))
        if text is None:
            raise BadRequest(
                "there is no character card in this PNG",
                hint="Download the original file: what a site shows as a preview has lost the card",
                code="invalid_card",
            )
        return Found(Container.PNG, _document(text))
    if file.startswith(b"PK\x03\x04"):
        return Found(Container.CHARX, _document(charx.card_of(file)))
    return Found(Container.JSON, _document(file))


def encoded(document: dict[str, Any]) -> bytes:
    """As it goes into a file again. In ASCII: some cards hold halves of surrogate pairs, which UTF-8 cannot."""
    return json.dumps(document, indent=2).encode()


def _document(text: bytes) -> dict[str, Any]:
    if len(text) > charx.MAX_CARD_BYTES:
        raise BadRequest(f"the card's JSON is over {charx.MAX_CARD_BYTES >> 20} MiB", code="invalid_card")
    try:
        document = json.loads(text.decode("utf-8-sig"), parse_constant=_constant)
    except ValueError:
        raise BadRequest("the file is no character card: it is not JSON", hint=_FORMS, code="invalid_card") from None
    except RecursionError:
        raise BadRequest("the card's JSON is nested too deeply", code="invalid_card") from None
    if not isinstance(document, dict):
        raise BadRequest("the file is no character card: its JSON is no object", hint=_FORMS, code="invalid_card")
    if _deeper(document, MAX_DEPTH):
        raise BadRequest(f"the card's JSON is nested over {MAX_DEPTH} deep", code="invalid_card")
    return document


def _constant(word: str) -> None:
    raise ValueError(word)  # NaN and its like are no JSON, whatever Python says


_FORMS = "A card is JSON, a PNG with a card in it, or a CHARX archive"


def _deeper(document: Any, limit: int) -> bool:
    level = [document]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
