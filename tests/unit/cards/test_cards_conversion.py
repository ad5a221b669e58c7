"""A Role out of a card and the card again: nothing is lost, and only what was edited changes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolehost.cards.book import EXTENSION
from rolehost.cards.card import card
from rolehost.cards.conversion import backfilled, exported, persona, role_name, template
from rolehost_api.crd.lorebook import Lorebook, LoreEntry, LoreLogic, LorePosition, LoreSource, LoreSpeaker
from rolehost_api.errors import BadRequest
from rolehost_runtime.core.lorebook.checking import faults
from rolehost_runtime.core.prompt import estimate

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


def role(document: dict[str, Any], **persona_says: Any) -> dict[str, Any]:
    """The manifest that an import makes of a card."""
    made = persona(card(document))
    says = {**made.says, **persona_says}
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
        "Keep it short."
    )
    assert made.greeting == "Hold on, the user!"
    assert made.display_name == "Captain Mira"
    assert made.greetings == ("Ahoy.",)
    assert made.examples == ({"user": "Storm?", "persona": "A breeze."},)
    (ship,) = made.lore.book.entries
    assert (ship.id, ship.keys, ship.content) == ("ship", ("ship",), "She is called Gull.")
    assert made.remarks == ()


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
         "post_history_instructions", "creator_notes", "alternate_greetings", "character_book", "extensions")  # fmt: skip


ENTRY: dict[str, Any] = {
    "id": 7,
    "name": "The Gull",
    "keys": ["ship", "Gull"],
    "secondary_keys": ["sea"],
    "selective": True,
    "content": "@@depth 2\n{{char}}'s ship is called Gull.",
    "enabled": True,
    "insertion_order": 3.0,
    "priority": 9,
    "position": "before_char",
    "case_sensitive": True,
    "x-own": [1],
    "extensions": {
        "selectiveLogic": 3, "match_whole_words": False, "probability": 40, "useProbability": True, "scan_depth": 2,
        "position": 4, "depth": 6, "role": 2, "sticky": 3, "cooldown": 2, "delay": 4, "exclude_recursion": True,
        "prevent_recursion": True, "theirs": {"kept": True},
    },
}  # fmt: skip
SILENT: list[dict[str, Any]] = [
    {"keys": [], "content": "Nobody finds it."},
    {"keys": ["a"], "content": ""},
    {"keys": ["a"], "content": "off", "enabled": False},
    {**ENTRY, "name": "twice"},
]


def book_of(*entries: Any, **more: Any) -> dict[str, Any]:
    data = {**MIRA["data"], "character_book": {"entries": list(entries), "extensions": {}, "x": 1, **more}}
    return {**MIRA, "data": data}


def test_an_entry_is_read_with_what_sillytavern_says_of_it() -> None:
    made = persona(card(book_of(ENTRY, scan_depth=9, token_budget=300, recursive_scanning=True)))
    assert (made.lore.book.scan_depth, made.lore.book.token_budget, made.lore.book.recursive) == (9, 300, True)
    assert made.lore.book.entries == (
        LoreEntry(
            id="the-gull",
            keys=("ship", "Gull"),
            second_keys=("sea",),
            logic=LoreLogic.AND_ALL,
            content="@@depth 2\nMira's ship is called Gull.",
            order=3,
            priority=9,
            case_sensitive=True,
            whole_words=False,
            position=LorePosition.AT_DEPTH,
            depth=6,
            speaker=LoreSpeaker.PERSONA,
            probability=40,
            scan_depth=2,
            sticky_turns=2,
            cooldown_turns=1,
            after_replies=2,
            found_in=LoreSource.MESSAGES,
            finds_others=False,
        ),
    )


def test_patterns_are_read_in_either_form() -> None:
    made = persona(
        card(
            book_of(
                {
                    "keys": ["drag(on|oon)"],
                    "use_regex": True,
                    "content": "a",
                    "secondary_keys": ["x"],
                    "selective": True,
                },
                {"keys": ["/gull|tern/", "plain.key"], "content": "b"},
                {"keys": ["/look(?=ahead)/i"], "content": "c"},
            )
        )
    )
    assert [(entry.regex, entry.keys, entry.second_keys) for entry in made.lore.book.entries] == [
        (True, ("drag(on|oon)",), ()),
        (True, ("(?-i)gull|tern", r"plain\.key"), ()),
    ]
    assert "could never be told" in made.remarks[0]


def test_what_could_never_be_told_stays_in_the_card() -> None:
    document = book_of(*SILENT, ENTRY)
    made = persona(card(document))
    assert [entry.id for entry in made.lore.book.entries] == ["twice"]
    assert made.remarks == ("Of its lorebook's 5 entries 4 could never be told, or come twice; the card keeps them.",)
    assert exported(role(document), document) == document
    says = msgspec.to_builtins(made.lore.book) | {"entries": [], "scanDepth": 9}
    after = exported(role(document, lorebook=says), document)["data"]["character_book"]
    assert after["entries"] == [*SILENT[:3], ENTRY]
    assert (after["scan_depth"], after["x"]) == (9, 1)


def test_a_book_of_twenty_thousand_is_cut_and_comes_back_whole() -> None:
    document = book_of(*({"name": "same", "keys": [f"k{n}"], "content": f"{n}"} for n in range(20_000)))
    made = persona(card(document))
    assert [entry.id for entry in made.lore.book.entries[:3]] == ["same", "same-2", "same-3"]
    assert len(made.lore.book.entries) == 1_000
    assert exported(role(document), document) == document


def test_constants_have_the_budget_that_they_take() -> None:
    both = [{"keys": [], "constant": True, "content": f"{i} " + "word " * 30} for i in range(4)]
    made = persona(card(book_of(*both, token_budget=60)))
    assert made.lore.book.token_budget > 60
    assert "budget is raised" in made.remarks[0]
    assert faults(made.lore.book, 2, estimate) == []


def test_an_edited_entry_changes_its_own_fields_only() -> None:
    document = book_of(ENTRY, {"keys": ["cat"], "content": "Bosun.", "x": 2})
    book = msgspec.json.decode(msgspec.json.encode(persona(card(document)).lore.book))
    book["entries"][1] |= {"content": "Bosun has one ear.", "cooldownTurns": 3}
    book["entries"].append({"id": "crew", "keys": ["crew"], "content": "Five hands.", "excludedKeys": ["ghost"]})
    after = exported(role(document, lorebook=book), document)
    gull, cat, crew = after["data"]["character_book"]["entries"]
    assert gull == ENTRY
    assert (cat["content"], cat["x"], cat["extensions"][EXTENSION]["cooldownTurns"]) == ("Bosun has one ear.", 2, 3)
    assert (crew["name"], crew["keys"], crew["enabled"]) == ("crew", ["crew"], True)
    assert persona(card(after)).lore.book == msgspec.convert(book, Lorebook)


def test_greetings_and_examples_go_back_to_their_fields() -> None:
    examples = [{"user": "Fear?", "persona": "No."}]
    after = exported(role(MIRA, greetings=["Ahoy.", "Hm?"], examples=examples), MIRA)["data"]
    assert after["alternate_greetings"] == ["Ahoy.", "Hm?"]
    assert after["mes_example"] == "<START>\n{{user}}: Fear?\n{{char}}: No."
    assert {**after, "alternate_greetings": 0, "mes_example": 0} == {
        **MIRA["data"],
        "alternate_greetings": 0,
        "mes_example": 0,
    }
    again = persona(card({**MIRA, "data": after}))
    assert (again.greetings, list(again.examples)) == (("Ahoy.", "Hm?"), examples)


def test_notes_of_the_maker_are_shown() -> None:
    document = {**MIRA, "data": {**MIRA["data"], "creator_notes": "Best with\na large model."}}
    assert persona(card(document)).remarks == ("Its maker notes: Best with a large model.",)
    assert exported(role(document), document) == document


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


words = st.text(alphabet="abcé龙 /.", min_size=1, max_size=8).filter(str.strip)
raw_entries = st.fixed_dictionaries(
    {},
    optional={
        "keys": st.lists(words, max_size=3) | json_values,
        "secondary_keys": st.lists(words, max_size=2) | json_values,
        "content": words | json_values,
        "selective": st.booleans() | json_values,
        "enabled": st.booleans() | json_values,
        "constant": st.booleans(),
        "use_regex": st.booleans(),
        "insertion_order": st.integers() | json_values,
        "priority": st.integers() | json_values,
        "position": st.sampled_from(["before_char", "after_char"]) | json_values,
        "name": words | json_values,
        "extensions": json_values
        | st.dictionaries(
            st.sampled_from(["selectiveLogic", "sticky", "position", "probability", EXTENSION]), json_values
        ),
        "x": json_values,
    },
)
books = st.fixed_dictionaries(
    {"entries": st.lists(raw_entries | json_values, max_size=6) | st.dictionaries(texts, raw_entries, max_size=3)},
    optional={
        "scan_depth": json_values,
        "token_budget": json_values,
        "recursive_scanning": st.booleans(),
        "x": json_values,
    },
)
good_entries = st.builds(
    lambda number, content, keys, logic, position, order, sticky, more: LoreEntry(
        id=f"e{number}", content=content.strip(), keys=(f"k{number}", *keys), logic=logic, position=position, order=order,
        sticky_turns=sticky, **more,
    ),
    st.integers(0, 10_000), words, st.lists(words.map(str.strip), max_size=2), st.sampled_from(LoreLogic),
    st.sampled_from(LorePosition), st.integers(-5, 5), st.integers(0, 3),
    st.fixed_dictionaries({}, optional={"scan_depth": st.integers(1, 9), "priority": st.integers(-3, 3)}),
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(books, st.lists(texts | json_values, max_size=3), texts)
def test_whatever_a_book_holds_comes_back_and_what_is_made_of_it_is_good(
    book: dict[str, Any], greetings: list[Any], example: str
) -> None:
    data = {"name": "M", "character_book": book, "alternate_greetings": greetings, "mes_example": example}
    document = {"spec": "chara_card_v3", "spec_version": "3.0", "data": data}
    manifest = json.loads(json.dumps(role(document)))
    assert exported(manifest, document) == document
    made = persona(card(document))
    assert msgspec.convert(manifest["spec"]["template"]["persona"].get("lorebook", {}), Lorebook) == made.lore.book
    spoken = len(made.greetings) + 1 if made.greeting or made.greetings else 0
    assert faults(made.lore.book, spoken, estimate) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(books, st.lists(good_entries, max_size=4, unique_by=lambda entry: entry.id), st.data())
def test_an_edited_book_is_in_the_export(book: dict[str, Any], added: list[LoreEntry], draw: st.DataObject) -> None:
    """Some entries stay, some go, some are new: what is imported again is what the manifest said."""
    document = {"spec": "chara_card_v2", "data": {"name": "M", "character_book": book}}
    before = persona(card(document)).lore.book
    stay = tuple(entry for entry in before.entries if draw.draw(st.booleans()))
    names = {entry.id for entry in stay}
    now = Lorebook(token_budget=20_000, entries=(*stay, *(one for one in added if one.id not in names)))
    now = msgspec.structs.replace(now, entries=now.entries if faults(now, 0, estimate) == [] else stay)
    says = msgspec.json.decode(msgspec.json.encode(now))
    after = exported(role(document, lorebook=says), document)
    again = persona(card(after)).lore.book
    left = {entry.id for entry in now.entries}
    assert tuple(entry for entry in again.entries if entry.id in left) == now.entries
