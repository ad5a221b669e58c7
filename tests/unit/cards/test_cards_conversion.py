"""A Role out of a card and the card again: nothing is lost, and only what was edited changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost.cards.card import card
from rolehost.cards.conversion import EXTENSION, backfilled, exported, persona, role_name, template
from rolehost_api.errors import BadRequest

MIRA: dict[str, Any] = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "later": {"unknown": [1, 2.5, None]},
    "data": {
        "name": "Captain Mira",
        "nickname": "Mira",
        "description": "{{char}} sails the clouds.",
        "personality": "dry, brave",
        "scenario": "{{user}} is on board.",
        "first_mes": "Hold on, {{user}}!",
        "mes_example": "<START>\n{{user}}: Storm?\n{{char}}: A breeze.",
        "system_prompt": "{{original}} Speak like a sailor.",
        "post_history_instructions": "Keep it short.",
        "alternate_greetings": ["Ahoy."],
        "character_book": {"entries": [{"keys": ["ship"], "content": "She is called Gull.", "x-own": True}]},
        "extensions": {"depth_prompt": {"depth": 4}},
        "tags": ["sky"],
        "x_of_somebody": {"deep": ["kept"]},
    },
}


def role(document: dict[str, Any], **persona_says: str) -> dict[str, Any]:
    """The manifest that an import makes of a card."""
    made = persona(card(document))
    says = {"system": made.system, "greeting": made.greeting, **persona_says}
    return {
        "metadata": {"name": role_name(made.display_name) or "role"},
        "spec": {"displayName": made.display_name, "template": {"persona": says, **template(document)}},
    }


def test_a_persona_is_made_of_every_part() -> None:
    made = persona(card(MIRA))
    assert made.system == (
        "Write Mira's next reply in this conversation, and stay in character. Speak like a sailor.\n\n"
        "Mira sails the clouds.\n\n"
        "Mira's personality:\ndry, brave\n\n"
        "Scenario:\nThe user is on board.\n\n"
        "Examples of how Mira speaks:\nThe user: Storm?\nMira: A breeze.\n\n"
        "Keep it short."
    )
    assert made.greeting == "Hold on, the user!"
    assert made.display_name == "Captain Mira"
    assert made.remarks == (
        "A Role has one greeting; the card keeps the others (1).",
        "Roles do not read lorebooks yet; the card keeps its own (entries: 1).",
    )


def test_an_old_card_is_read() -> None:
    old = {"name": "Bo", "description": "A bear.", "first_mes": "Hm.", "x": 1}
    made = persona(card(old))
    assert "A bear." in made.system
    assert exported(role(old), old) == old
    assert exported(role(old, greeting="Ho."), old) == {**old, "first_mes": "Ho."}


def test_there_and_back_changes_nothing() -> None:
    assert exported(role(MIRA), MIRA) == MIRA


def test_an_edit_changes_its_own_field_only() -> None:
    after = exported(role(MIRA, greeting="Welcome."), MIRA)
    assert after == {**MIRA, "data": {**MIRA["data"], "first_mes": "Welcome."}}


def test_an_edited_persona_goes_whole_into_the_description() -> None:
    after = exported(role(MIRA, system="A sailor."), MIRA)["data"]
    assert after["description"] == "A sailor."
    assert after["personality"] == after["system_prompt"] == after["post_history_instructions"] == ""
    assert after["character_book"] == MIRA["data"]["character_book"]
    again = persona(card({**MIRA, "data": after}))
    assert again.system.endswith("A sailor.")


def test_what_no_field_says_travels_in_the_extensions() -> None:
    manifest = role(MIRA)
    manifest["spec"]["template"]["model"] = {"name": "small"}
    manifest["spec"]["template"]["logic"] = {"inline": "code stays at home"}
    after = exported(manifest, MIRA)
    assert after["data"]["extensions"] == {
        "depth_prompt": {"depth": 4},
        EXTENSION: {"template": {"model": {"name": "small"}}},
    }
    assert template(after) == {"model": {"name": "small"}}
    assert exported(role(after), after) == after


def test_a_role_without_a_card_gets_a_new_one() -> None:
    made = exported({"metadata": {"name": "cat"}, "spec": {"template": {"persona": {"system": "A cat."}}}}, None)
    assert made["spec"] == "chara_card_v3"
    assert made["data"]["name"] == "cat"
    assert card(made).description == "A cat."
    assert backfilled(made)["spec"] == "chara_card_v2"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"spec": "chara_card_v9", "data": {"name": "x"}},
        {"spec": "chara_card_v2"},
        {"spec": "chara_card_v2", "data": {"name": " "}},
        {"spec": ["chara_card_v2"], "data": {"name": "x"}},
    ],
)
def test_what_is_no_card_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        card(document)


texts = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
KNOWN = ("nickname", "description", "personality", "scenario", "first_mes", "mes_example", "system_prompt",
         "post_history_instructions", "alternate_greetings", "character_book", "extensions")  # fmt: skip


@given(
    texts.filter(str.strip),
    st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN, texts | json_values)),
    st.dictionaries(texts, json_values, max_size=4),
    st.dictionaries(texts.filter(lambda name: name not in ("spec", "data")), json_values, max_size=3),
)
def test_whatever_a_card_holds_comes_back(
    name: str, known: dict[str, Any], unknown: dict[str, Any], beside: dict[str, Any]
) -> None:
    document = {**beside, "spec": "chara_card_v2", "data": {**unknown, **known, "name": name}}
    manifest = role(document)
    manifest["spec"]["template"] = {"persona": manifest["spec"]["template"]["persona"], **template(document)}
    assert exported(manifest, document) == document
