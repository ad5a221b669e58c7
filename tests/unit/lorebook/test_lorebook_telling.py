"""What a turn tells of a book: keys, second keys, conditions, recursion, memory, chance and budget."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.lorebook import AfterMatch, Lorebook, LoreEntry, LoreLogic, LorePosition, LoreSource, LoreSpeaker
from rolehost_runtime.core.lorebook.compiling import Compiled
from rolehost_runtime.core.lorebook.decorators import decorated
from rolehost_runtime.core.lorebook.placing import placed
from rolehost_runtime.core.lorebook.telling import MAX_TOLD, Moment, remembered, tell


def book(*entries: LoreEntry, **more: Any) -> Compiled:
    return Compiled(Lorebook(entries=entries, **more), len)


def entry(name: str, content: str = "text", **more: Any) -> LoreEntry:
    return LoreEntry(id=name, content=content, **more)


def told(made: Compiled, *messages: str, turn: int = 1, **now: Any) -> list[str]:
    moment = Moment(**{"turn": turn, "seed": 7, "replies": turn - 1, **now})
    return [one.rule.entry.id for one in tell(made, messages, moment).found]


@pytest.mark.parametrize(
    ("logic", "messages"),
    [
        (LoreLogic.AND_ANY, {"cat": False, "cat sea": True, "cat sea storm": True}),
        (LoreLogic.AND_ALL, {"cat": False, "cat sea": False, "cat sea storm": True}),
        (LoreLogic.NOT_ANY, {"cat": True, "cat sea": False, "cat sea storm": False}),
        (LoreLogic.NOT_ALL, {"cat": True, "cat sea": True, "cat sea storm": False}),
    ],
)
def test_second_keys(logic: LoreLogic, messages: dict[str, bool]) -> None:
    made = book(entry("x", keys=("cat",), second_keys=("sea", "storm"), logic=logic, excluded_keys=("dog",)))
    assert {message: told(made, message) == ["x"] for message in messages} == messages
    assert told(made, "sea storm") == told(made, "cat sea storm dog") == []


def test_keys_are_looked_for_as_deep_as_the_entry_or_the_book_says() -> None:
    made = book(entry("near", keys=("cat",)), entry("far", keys=("cat",), scan_depth=3), scan_depth=1)
    assert told(made, "cat") == ["near", "far"]
    assert told(made, "no", "and", "cat") == ["far"]
    assert told(made, "no", "and", "but", "cat") == []


def test_what_was_found_finds_more_and_a_circle_ends() -> None:
    made = book(
        entry("a", "of b", keys=("a",)),
        entry("b", "of c", keys=("b",)),
        entry("c", "of a", keys=("c",)),
        entry("only", "deep", keys=("b",), found_in=LoreSource.ENTRIES),
        entry("never", "near", keys=("c",), found_in=LoreSource.MESSAGES),
        entry("mute", "of silence", keys=("b",), finds_others=False),
        entry("silence", keys=("silence",)),
        recursive=True,
    )
    assert told(made, "a") == ["a", "b", "c", "only", "mute"]
    assert told(made, "b") == ["a", "b", "c", "only", "mute"]
    flat = Compiled(Lorebook(entries=made.book.entries), len)
    assert told(flat, "a") == ["a"]


def test_conditions_of_time_and_greeting() -> None:
    made = book(
        entry("late", keys=("x",), after_replies=2),
        entry("third", keys=("x",), every_replies=3),
        entry("rain", keys=("x",), greeting=1),
    )
    assert [told(made, "x", replies=count) for count in range(4)] == [["third"], [], ["late"], ["late", "third"]]
    assert told(made, "x", replies=1, greeting=1) == ["rain"]


def test_what_is_remembered_stays_pauses_comes_always_or_never_again() -> None:
    made = book(
        entry("sticky", keys=("x",), sticky_turns=2, cooldown_turns=1),
        entry("always", keys=("x",), after_match=AfterMatch.ALWAYS),
        entry("never", keys=("x",), after_match=AfterMatch.NEVER),
        entry("plain", keys=("x",)),
    )
    memory: dict[str, int] = {}
    seen = []
    for turn, message in enumerate(["", "x", "", "", "x", "x"], 1):
        now = tell(made, [message], Moment(turn, 7, 0, 0, memory))
        memory = remembered(memory, now.began, turn)
        seen.append([(one.rule.entry.id, one.by) for one in now.found])
    assert seen == [
        [],
        [("sticky", "key"), ("always", "key"), ("never", "key"), ("plain", "key")],
        [("sticky", "kept"), ("always", "kept")],
        [("sticky", "kept"), ("always", "kept")],
        [("always", "kept"), ("plain", "key")],
        [("sticky", "key"), ("always", "kept"), ("plain", "key")],
    ]


def test_over_the_budget_the_least_important_go_first() -> None:
    made = book(
        entry("a", "12345", keys=("x",), order=1, priority=1),
        entry("b", "12345", keys=("x",), order=2, priority=9),
        entry("c", "12345", keys=("x",), order=3),
        entry("d", "1234567890", constant=True),
        token_budget=20,
    )
    now = tell(made, ["x"], Moment(1, 7, 0))
    assert [one.rule.entry.id for one in now.found] == ["b", "c"]
    assert now.left_out == ("a",)
    assert [rule.entry.id for rule in made.fixed] == ["d"]


def test_a_turn_tells_a_bounded_number() -> None:
    made = book(*(entry(f"e{i}", "x", keys=("x",)) for i in range(500)), token_budget=65_536)
    now = tell(made, ["x"], Moment(1, 7, 0))
    assert (len(now.found), len(now.left_out)) == (MAX_TOLD, MAX_TOLD)


def test_what_a_session_remembers_is_bounded() -> None:
    memory: dict[str, int] = {}
    for turn in range(1, 1_500):
        memory = remembered(memory, [f"e{turn}"], turn)
    assert len(memory) == 1_000
    assert "e499" not in memory


@given(st.integers(0, 2**63 - 1), st.integers(1, 99), st.lists(st.sampled_from(["cat", "sea", "x"]), max_size=4))
def test_the_same_turn_tells_the_same_whatever_stands_beside(seed: int, percent: int, messages: list[str]) -> None:
    chancy = entry("chancy", keys=("cat", "sea"), probability=percent)
    alone, beside = book(chancy), book(entry("other", keys=("cat",), probability=50), chancy)
    assert ("chancy" in told(alone, *messages, seed=seed)) == ("chancy" in told(beside, *messages, seed=seed))
    assert told(beside, *messages, seed=seed) == told(beside, *messages, seed=seed)


def test_texts_go_where_their_entries_want_them_and_nothing_volatile_goes_in_front() -> None:
    made = book(
        entry("always-first", "noon", constant=True, position=LorePosition.BEFORE_PERSONA),
        entry("always", "sea", constant=True),
        entry("after", "ship", keys=("x",)),
        entry("before", "crew", keys=("x",), position=LorePosition.BEFORE_PERSONA),
        entry("deep", "storm", keys=("x",), position=LorePosition.AT_DEPTH, depth=2, speaker=LoreSpeaker.PERSONA),
    )
    found = placed(made, tell(made, ["x"], Moment(1, 7, 0)))
    assert (found.before, found.after, found.behind) == ("noon", "sea", ("crew", "ship"))
    assert found.among == ((2, "persona", "storm"),)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("@@activate_only_after 3", {"after_replies": 3}),
        ("@@activate_only_every 2", {"every_replies": 2}),
        ("@@keep_activate_after_match", {"after_match": AfterMatch.ALWAYS}),
        ("@@dont_activate_after_match", {"after_match": AfterMatch.NEVER}),
        ("@@depth -4", {"position": LorePosition.AT_DEPTH, "depth": 0}),
        ("@@depth 3\n@@role assistant", {"depth": 3, "speaker": LoreSpeaker.PERSONA}),
        ("@@scan_depth 9", {"scan_depth": 9}),
        ("@@is_greeting 1", {"greeting": 1}),
        ("@@position before_desc\n@@depth 3", {"position": LorePosition.BEFORE_PERSONA, "depth": 4}),
        ("@@position personality", {"position": LorePosition.AFTER_PERSONA}),
        ("@@additional_keys sea, storm", {"second_keys": ("sea", "storm")}),
        ("@@exclude_keys dog,wolf", {"excluded_keys": ("dog", "wolf")}),
        ("@@activate", {"constant": True}),
        ("@@dont_activate", {"enabled": False}),
        ("@@dont_activate\n@@activate", {"enabled": True}),
        ("@@scan_depth 1\n@@scan_depth 2", {"scan_depth": 1}),
        ("@@depth two\n@@@scan_depth 2", {"position": LorePosition.AFTER_PERSONA, "scan_depth": 2}),
        ("@@risu 1\n@@@agnai 2\n@@@scan_depth 3\n@@@depth 5", {"scan_depth": 3, "depth": 4}),
        ("@@scan_depth 2\n@@@depth 5", {"scan_depth": 2, "depth": 4}),
        ("@@is_user_icon x\n@@instruct_depth 3\n@@ignore_on_max_context", {}),
    ],
)
def test_decorators(line: str, fields: dict[str, Any]) -> None:
    for end in ("\n", "\n\n", "\r\n"):
        found = decorated(entry("x", f"{line}{end}The text.\n@@depth 1", keys=("x",)))
        assert found.entry.content == "The text.\n@@depth 1"
        assert {name: getattr(found.entry, name) for name in fields} == fields


def test_activate_is_above_all_other_conditions() -> None:
    made = book(entry("x", "@@activate\n@@activate_only_after 9\nHere.", keys=("never",), probability=0))
    assert [rule.entry.content for rule in made.fixed] == ["Here."]


WORD = st.text(alphabet="ab 龙@\n{}.*(\ud800\x00", max_size=12)
ENTRY = st.builds(
    lambda name, **fields: LoreEntry(id=f"e{name}", **fields),
    name=st.integers(0, 99),
    content=WORD | st.just("@@depth 1\n@@@role user\nx"),
    keys=st.lists(WORD, max_size=4).map(tuple),
    second_keys=st.lists(WORD, max_size=2).map(tuple),
    logic=st.sampled_from(LoreLogic),
    regex=st.booleans(),
    whole_words=st.booleans(),
    case_sensitive=st.booleans(),
    constant=st.booleans(),
    position=st.sampled_from(LorePosition),
    depth=st.integers(0, 1_000),
    sticky_turns=st.integers(0, 3),
    after_match=st.sampled_from(AfterMatch),
    found_in=st.sampled_from(LoreSource),
)


@given(st.lists(ENTRY, max_size=8), st.lists(WORD, max_size=6), st.integers(0, 2_000), st.booleans())
def test_whatever_a_book_and_a_conversation_hold_a_turn_is_told_within_its_bounds(
    entries: list[LoreEntry], messages: list[str], budget: int, recursive: bool
) -> None:
    made = book(*entries, token_budget=budget, recursive=recursive)
    now = tell(made, messages, Moment(3, 7, 2, 0, {"e1": 2, "gone": 1}))
    told_ = [one.rule for one in now.found]
    assert sum(rule.cost for rule in (*made.fixed, *told_)) <= budget
    assert len({rule.place for rule in (*made.fixed, *told_)}) == len(made.fixed) + len(told_)
    assert not any(rule.entry.content.startswith("@@depth 1\n") for rule in (*made.fixed, *told_))
    placed(made, now)
