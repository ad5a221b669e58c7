"""`rolehost check` on a lorebook: what can never be told is said with its line, and a good one is left alone."""

import json

import pytest

from rolehost_api.crd.lorebook import MAX_BOOK_CHARS
from rolehost_api.manifest import check
from rolehost_runtime.core.dsl.manifests import COMPILER

GOOD = {"id": "a", "content": "A ship.", "keys": ["ship"]}


def findings(*entries: object, **more: object) -> list[tuple[str, str]]:
    book = {"entries": list(entries), **more}
    persona = {"system": "You are Tom.", "greeting": "Door's open.", "lorebook": book}
    role = {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "Role",
        "metadata": {"name": "tom"},
        "spec": {"template": {"persona": persona}},
    }
    found = check(json.dumps(role, indent=1), compiler=COMPILER)
    assert all(one.line for one in found)
    return [(one.path.removeprefix("spec.template.persona.lorebook."), one.message) for one in found]


def test_a_good_book_is_left_alone() -> None:
    others = [
        {"id": "b", "content": "Always.", "constant": True},
        {"id": "c", "content": "@@activate\nIn any case."},
        {"id": "d", "content": "x", "keys": ["cat"], "secondKeys": ["sea"], "excludedKeys": ["dog"]},
        {"id": "e", "content": "why", "keys": ["sea|ship"], "regex": True},
        {"id": "f", "content": "z", "keys": ["cat", "dog"], "secondKeys": ["cat"], "logic": "NotAny"},
    ]
    assert findings(GOOD, *others) == []


@pytest.mark.parametrize(
    ("entry", "field", "words"),
    [
        ({"keys": []}, "keys", "nothing can find it"),
        ({"content": ""}, "content", "is empty"),
        ({"content": "@@depth 2\n"}, "content", "is empty"),
        ({"enabled": False}, "enabled", "switches the entry off"),
        ({"content": "@@dont_activate\nx"}, "enabled", "switches the entry off"),
        ({"probability": 0}, "probability", "is 0"),
        ({"greeting": 1}, "greeting", "there are 1"),
        ({"foundIn": "Entries"}, "foundIn", "leaves nothing"),
        ({"scanDepth": 0}, "scanDepth", "leaves nothing"),
        ({"excludedKeys": ["SHIP"]}, "excludedKeys", "what finds it forbids it"),
        ({"secondKeys": ["sea"], "excludedKeys": ["sea"]}, "excludedKeys", "what secondKeys ask for"),
        ({"secondKeys": ["a", "sea"], "excludedKeys": ["sea"], "logic": "AndAll"}, "excludedKeys", "ask for"),
        ({"secondKeys": ["ship"], "logic": "NotAny"}, "secondKeys", "none of them may be there"),
        ({"secondKeys": ["ship"], "logic": "NotAll"}, "secondKeys", "its only key"),
        ({"content": "word " * 1_000}, "content", "more than the book's tokenBudget"),
        ({"keys": ["(a"], "regex": True}, "keys[0]", "no pattern of RE2"),
        ({"keys": ["(a?){500}"], "regex": True}, "keys[0]", "too large"),
    ],
)
def test_what_can_never_be_told_is_said(entry: dict[str, object], field: str, words: str) -> None:
    ((at, said),) = findings({**GOOD, **entry})
    assert at == f"entries[0].{field}"
    assert words in said


def test_what_is_said_twice_and_what_is_too_much() -> None:
    assert findings(GOOD, {**GOOD, "id": "b"}) == [("entries[1].content", "is told under the same keys by 'a'")]
    assert sorted(findings(GOOD, GOOD)) == [
        ("entries[1].content", "is told under the same keys by 'a'"),
        ("entries[1].id", "'a' is already taken"),
    ]
    constants = [{"id": f"c{i}", "content": f"{i} " + "word " * 60, "constant": True} for i in range(4)]
    ((at, said),) = findings(*constants, tokenBudget=200)
    assert (at, "the constant entries alone take about" in said) == ("tokenBudget", True)
    large = [{"id": f"e{i}", "content": "x" * 8_000, "keys": [f"k{i}"]} for i in range(40)]
    found = findings(*large, tokenBudget=4_000)
    assert [at for at, _ in found] == ["entries"]
    assert str(MAX_BOOK_CHARS) in found[0][1]


def test_an_id_is_a_word_and_a_book_is_no_list() -> None:
    assert findings({**GOOD, "id": "no good"})[0][0] == "entries[0].id"
    assert findings({"content": "x"})[0][0] == "entries[0].id"
