"""A Role's persona out of a card, and a card out of a Role.

There and back nothing is lost: a card is the base of its own export, and only what the
Role says otherwise is put into it.
"""

import copy
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolehost.cards.card import SPECS, Card, card, data_of
from rolehost.cards.macros import fill

EXTENSION = "rolehost.io"
"""Under a card's `extensions`: what of a Role no field of a card can say."""
FROM_PARTS = ("description", "personality", "scenario", "mes_example", "system_prompt", "post_history_instructions")
MAX_GREETING_CHARS = 8_192


@dataclass(frozen=True, slots=True)
class Persona:
    system: str
    greeting: str
    display_name: str
    remarks: tuple[str, ...] = ()
    """What of the card the Role does not use, each a sentence. The card keeps it for an export."""


def persona(source: Card) -> Persona:
    """What the model is told of a character, and what the Role says first."""
    char = source.called
    default = f"Write {char}'s next reply in this conversation, and stay in character."
    left: list[str] = []

    def filled(text: str, original: str = "") -> str:
        done = fill(text, char, original)
        left.extend(done.left)
        return done.text.replace("\r\n", "\n").strip()

    parts = [filled(source.system_prompt, default) or default, filled(source.description)]
    parts += (
        f"{title}\n{text}"
        for title, text in (
            (f"{char}'s personality:", filled(source.personality)),
            ("Scenario:", filled(source.scenario)),
            (f"Examples of how {char} speaks:", filled(re.sub(r"(?i)<START>\s*", "\n", source.mes_example))),
        )
        if text
    )
    parts.append(filled(source.post_history_instructions))
    greeting = filled(source.first_mes)
    remarks = []
    if len(greeting) > MAX_GREETING_CHARS:
        greeting = greeting[:MAX_GREETING_CHARS]
        remarks.append(f"The greeting is cut to its first {MAX_GREETING_CHARS} characters.")
    if source.alternate_greetings:
        remarks.append(f"A Role has one greeting; the card keeps the others ({len(source.alternate_greetings)}).")
    if source.entries:
        remarks.append(f"Roles do not read lorebooks yet; the card keeps its own (entries: {source.entries}).")
    if left:
        words = ", ".join(dict.fromkeys(left))
        remarks.append(f"These stay as they are, for they mean something else each time: {words[:500]}")
    return Persona("\n\n".join(part for part in parts if part), greeting, source.name[:128], tuple(remarks))


def role_name(name: str) -> str:
    """A name for a Role from a character's, or empty where it has no letter of a-z and no digit.

    >>> role_name("Seraphina the Élf"), role_name("V.A.L.E."), role_name("小龙")
    ('seraphina-the-elf', 'v-a-l-e', '')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].rstrip("-")


def template(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an export of ours wrote of the Role's template beside its persona."""
    _, data = data_of(document)
    extensions = data.get("extensions")
    ours = extensions.get(EXTENSION) if isinstance(extensions, dict) else None
    kept = ours.get("template") if isinstance(ours, dict) else None
    return {name: value for name, value in kept.items() if name != "persona"} if isinstance(kept, dict) else {}


def exported(role: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, Any]:
    """The card of a Role's manifest: `base`, which it was imported from, with what the Role says otherwise; else a new V3.

    A persona that was edited is one text, so it goes whole into `description`, and the
    parts that it was made of are emptied.
    """
    spec = role["spec"]
    says = spec["template"].get("persona") or {}
    system, greeting = str(says.get("system", "")), str(says.get("greeting", ""))
    name = str(spec.get("displayName") or role["metadata"]["name"])
    document: dict[str, Any] = copy.deepcopy(dict(base)) if base is not None else _empty()
    version, found = data_of(document)
    data: dict[str, Any] = dict(found)
    before = persona(card(document)) if base is not None else Persona("", "", "")
    if name != before.display_name:
        data["name"] = name
    if system.strip() != before.system:
        data |= {part: "" for part in FROM_PARTS if part in data} | {"description": system}
    if greeting.strip() != before.greeting:
        data["first_mes"] = greeting
    if version == "V1":
        return data
    rest = {field: value for field, value in spec["template"].items() if field not in ("persona", "logic")}
    data |= _extensions(data, rest)
    document["data"] = data
    return document


def backfilled(document: Mapping[str, Any]) -> dict[str, Any]:
    """A V3 card as readers of V2 want it beside it: the same fields under the older name."""
    version, data = data_of(document)
    if version == "V1":
        return dict(document)
    return {**document, "spec": "chara_card_v2", "spec_version": "2.0", "data": dict(data)}


def _extensions(data: Mapping[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """The field with ours in it, or without where there is nothing to say; none where it is as it was."""
    there = data.get("extensions", {})
    before = there if isinstance(there, dict) else {}
    after = {name: value for name, value in before.items() if name != EXTENSION}
    if rest:
        after[EXTENSION] = {"template": rest}
    return {} if after == before else {"extensions": after}


def _empty() -> dict[str, Any]:
    texts = dict.fromkeys(("name", "first_mes", *FROM_PARTS, "creator", "creator_notes", "character_version"), "")
    spec = next(word for word, version in SPECS.items() if version == "V3")
    lists: dict[str, Any] = {"tags": [], "alternate_greetings": [], "group_only_greetings": []}
    return {"spec": spec, "spec_version": "3.0", "data": {**texts, **lists, "extensions": {}}}
