"""A Role's persona out of a card, and a card out of a Role.

There and back nothing is lost: a card is the base of its own export, and only what the
Role says otherwise is put into it.
"""

import copy
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rolehost.cards import book, examples
from rolehost.cards.book import EXTENSION
from rolehost.cards.card import SPECS, Card, card, data_of
from rolehost.cards.macros import fill
from rolehost_api.crd.lorebook import Lorebook
from rolehost_api.crd.role import Persona as RolePersona
from rolehost_api.persona.resolving import resolved

FROM_PARTS = ("description", "personality", "scenario", "mes_example", "system_prompt", "post_history_instructions")
MAX_GREETING_CHARS = 8_192
MAX_GREETINGS = 16
MAX_NOTES_CHARS = 500


@dataclass(frozen=True, slots=True)
class Persona:
    system: str
    greeting: str
    display_name: str
    greetings: tuple[str, ...] = ()
    """Others than the first."""
    examples: tuple[dict[str, str], ...] = ()
    lore: book.Imported = field(default_factory=lambda: book.Imported(Lorebook(), ()))
    remarks: tuple[str, ...] = ()
    """What of the card the Role does not use or says otherwise, each a sentence. The card keeps it for an export."""

    @property
    def says(self) -> dict[str, Any]:
        """As `spec.template.persona` of a manifest."""
        return {"system": self.system} | {
            name: value
            for name, value in (
                ("greeting", self.greeting),
                ("greetings", list(self.greetings)),
                ("examples", list(self.examples)),
                ("lorebook", msgspec.json.decode(msgspec.json.encode(self.lore.book))),
            )
            if value
        }


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
    shown = [{who: filled(text) for who, text in one.items()} for one in examples.read(source.mes_example)]
    shown = shown if all(text for one in shown for text in one.values()) else []
    parts += (
        f"{title}\n{text}"
        for title, text in (
            (f"{char}'s personality:", filled(source.personality)),
            ("Scenario:", filled(source.scenario)),
            (
                f"Examples of how {char} speaks:",
                "" if shown else filled(re.sub(r"(?i)<START>\s*", "\n", source.mes_example)),
            ),
        )
        if text
    )
    parts.append(filled(source.post_history_instructions))
    greeting, *greetings = (filled(text) for text in (source.first_mes, *source.alternate_greetings))
    greetings = list(filter(None, greetings))
    remarks = []
    if any(len(text) > MAX_GREETING_CHARS for text in (greeting, *greetings)):
        remarks.append(f"A greeting is cut to its first {MAX_GREETING_CHARS} characters.")
    if len(greetings) > MAX_GREETINGS:
        remarks.append(f"A Role has at most {MAX_GREETINGS} other greetings; the card keeps all {len(greetings)}.")
    greeting, *greetings = (text[:MAX_GREETING_CHARS].strip() for text in (greeting, *greetings[:MAX_GREETINGS]))
    spoken = len(greetings) + 1 if greeting or greetings else 0
    lore = book.imported(source.book, spoken, filled)
    remarks += lore.remarks
    if notes := " ".join(source.creator_notes.split()):
        remarks.append(f"Its maker notes: {notes[:MAX_NOTES_CHARS]}{'…' if len(notes) > MAX_NOTES_CHARS else ''}")
    if left:
        words = ", ".join(dict.fromkeys(left))
        remarks.append(f"These stay as they are, for they mean something else each time: {words[:500]}")
    system = "\n\n".join(part for part in parts if part)
    return Persona(system, greeting, source.name[:128], tuple(greetings), tuple(shown), lore, tuple(remarks))


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
    system, greeting = resolved(
        msgspec.convert({name: one for name, one in says.items() if one is not None}, RolePersona)
    )[0]
    name = str(spec.get("displayName") or role["metadata"]["name"])
    document: dict[str, Any] = copy.deepcopy(dict(base)) if base is not None else _empty()
    version, found = data_of(document)
    data: dict[str, Any] = dict(found)
    before = persona(card(document)) if base is not None else Persona("", "", "")
    if name != before.display_name:
        data["name"] = name
    shown = list(says.get("examples") or ())
    edited = shown != list(before.examples)
    if system.strip() != before.system or (edited and not before.examples and data.get("mes_example")):
        parts = [part for part in FROM_PARTS if part in data and not (part == "mes_example" and before.examples)]
        data |= dict.fromkeys(parts, "") | {"description": system}
    if edited:
        data["mes_example"] = examples.written(shown)
    if greeting.strip() != before.greeting:
        data["first_mes"] = greeting
    if list(says.get("greetings") or ()) != list(before.greetings):
        data["alternate_greetings"] = list(says.get("greetings") or ())
    lore = msgspec.convert(says.get("lorebook") or {}, Lorebook)
    if lore != before.lore.book:
        was = data.get("character_book")
        made = book.exported(lore, before.lore, was if isinstance(was, Mapping) else None)
        data |= {"character_book": made} if made is not None else {}
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
