"""One table of what happens to user-scope state when turns meet there: for the pure law, and for every store."""

from dataclasses import dataclass
from typing import Any

from rolehost_api.link.messages import PatchOp


def put(field: str, value: Any) -> PatchOp:
    return PatchOp("replace", f"/{field}", value)


def drop(field: str) -> PatchOp:
    return PatchOp("remove", f"/{field}")


def add(field: str, by: int) -> PatchOp:
    return PatchOp("incr", f"/{field}", by)


def join(field: str, element: str) -> PatchOp:
    return PatchOp("add", f"/{field}/{element.replace('~', '~0').replace('/', '~1')}", True)


def leave(field: str, element: str) -> PatchOp:
    return PatchOp("remove", f"/{field}/{element.replace('~', '~0').replace('/', '~1')}")


@dataclass(frozen=True)
class Case:
    turns: tuple[tuple[int, tuple[PatchOp, ...]], ...]
    """In the order of their commits: the version that each had read, and its patch."""
    view: dict[str, Any]
    version: int
    kept: tuple[tuple[int, str, int, Any], ...] = ()
    """Compensations: the version that overrode, the field, the version that had written, the value."""
    refused: str = ""
    """Code that the last of them is refused with."""


FUTURE = 2**32
CASES = {
    "the first word": Case(((0, (put("mood", "calm"),)),), {"mood": "calm"}, 1),
    "every field by itself": Case(
        ((0, (put("mood", "calm"), add("dragons", 2))), (0, (put("place", {"x": [1, 2.5, None]}), join("met", "Ann")))),
        {"mood": "calm", "dragons": 2, "place": {"x": [1, 2.5, None]}, "met": {"Ann": True}},
        2,
    ),
    "last: what was seen is no loss": Case(((0, (put("mood", "calm"),)), (1, (put("mood", "wild"),))), {"mood": "wild"}, 2),
    "last: what was not seen is kept": Case(
        ((0, (put("mood", "calm"),)), (0, (put("mood", "wild"),)), (1, (put("mood", "sad"),))),
        {"mood": "sad"},
        3,
        ((2, "mood", 1, "calm"), (3, "mood", 2, "wild")),
    ),
    "last: the same said twice overrides nothing": Case(
        ((0, (put("mood", "calm"),)), (0, (put("mood", "calm"),))), {"mood": "calm"}, 2
    ),
    "last: an older word about another field is no loss": Case(
        ((0, (put("mood", "calm"),)), (1, (put("place", "cave"),)), (1, (put("mood", "wild"),))),
        {"mood": "wild", "place": "cave"},
        3,
    ),
    "last: 1 is not 1.0, nor true": Case(
        ((0, (put("n", 1),)), (0, (put("n", 1.0),)), (0, (put("n", True),))), {"n": True}, 3, ((2, "n", 1, 1), (3, "n", 2, 1.0))
    ),
    "a field is dropped": Case(((0, (put("mood", "calm"), add("n", 1))), (1, (drop("mood"),))), {"n": 1}, 2),
    "a field is dropped unseen": Case(
        ((0, (put("mood", "calm"),)), (0, (drop("mood"),))), {}, 2, ((2, "mood", 1, "calm"),)
    ),
    "what is not there is dropped": Case(((0, (drop("mood"),)),), {}, 1),
    "counters add up, seen or not": Case(
        ((0, (add("dragons", 2),)), (0, (add("dragons", 3),)), (1, (add("dragons", -10),))), {"dragons": -5}, 3
    ),
    "a counter as far as it goes": Case(((0, (add("n", 2**53 - 1),)), (0, (add("n", 0),))), {"n": 2**53 - 1}, 2),
    "a counter too far": Case(
        ((0, (add("n", 2**53 - 1),)), (0, (put("mood", "x"), add("n", 1)))), {"n": 2**53 - 1}, 1, refused="counter_too_large"
    ),
    "a counter too far down": Case(((0, (add("n", -(2**53 - 1)),)), (0, (add("n", -1),))), {"n": -(2**53 - 1)}, 1,
                                   refused="counter_too_large"),
    "a plain number becomes a counter": Case(((0, (put("n", 40),)), (0, (add("n", 2),))), {"n": 42}, 2),
    "negative ones too": Case(
        ((0, (put("a", -1), put("b", -33), put("c", -200), put("d", -70_000), put("e", -(2**40)))),
         (0, (add("a", -1), add("b", -1), add("c", -1), add("d", -1), add("e", -1)))),
        {"a": -2, "b": -34, "c": -201, "d": -70_001, "e": -(2**40) - 1}, 2,
    ),
    "large ones too": Case(
        ((0, (put("a", 128), put("b", 300), put("c", 70_000), put("d", 2**40), put("e", 2**53 - 1))),
         (0, (add("a", 1), add("b", 1), add("c", 1), add("d", 1), add("e", -1)))),
        {"a": 129, "b": 301, "c": 70_001, "d": 2**40 + 1, "e": 2**53 - 2}, 2,
    ),
    "what is no whole number does not": Case(
        ((0, (put("a", 3.0), put("b", True), put("c", 2**60), put("d", "x"), put("e", None))),
         (0, (add("a", 1), add("b", 1), add("c", 1), add("d", 1), add("e", 1)))),
        {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, 2,
        ((2, "a", 1, 3.0), (2, "b", 1, True), (2, "c", 1, 2**60), (2, "d", 1, "x"), (2, "e", 1, None)),
    ),
    "a counter becomes a plain number": Case(
        ((0, (add("n", 2),)), (1, (put("n", 7),)), (1, (put("n", 9),))), {"n": 9}, 3, ((3, "n", 2, 7),)
    ),
    "a counter is overridden unseen": Case(
        ((0, (add("n", -70_000),)), (0, (put("n", 7),))), {"n": 7}, 2, ((2, "n", 1, -70_000),)
    ),
    "elements join, seen or not": Case(
        ((0, (join("met", "Ann"),)), (0, (join("met", "Bob"),)), (0, (join("met", "Ann"),))),
        {"met": {"Ann": True, "Bob": True}}, 3,
    ),
    "an element leaves": Case(((0, (join("met", "Ann"), join("met", "Bob"))), (1, (leave("met", "Ann"),))), {"met": {"Bob": True}}, 2),
    "an element that was added again unseen stays": Case(
        ((0, (join("met", "Ann"),)), (0, (join("met", "Ann"),)), (1, (leave("met", "Ann"),))), {"met": {"Ann": True}}, 3
    ),
    "an element that nobody added leaves": Case(((0, (leave("met", "Ann"),)),), {}, 1),
    "an empty set stays a set": Case(((0, (join("met", "Ann"),)), (1, (leave("met", "Ann"),))), {"met": {}}, 2),
    "names of any kind": Case(
        ((0, (join("met", ""), join("met", "a/b~c"), join("met", "龙\x00 %d"), put("龙", "\x00 s"))),),
        {"met": {"": True, "a/b~c": True, "龙\x00 %d": True}, "龙": "\x00 s"}, 1,
    ),
    "of two fields, one the other's beginning": Case(
        ((0, (join("m", "et/Ann"), join("met", "Ann"))), (1, (put("m", 1),))), {"m": 1, "met": {"Ann": True}}, 2
    ),
    "a set is overridden unseen": Case(
        ((0, (join("met", "Bob"), join("met", "Ann"))), (0, (put("met", 1),))), {"met": 1}, 2, ((2, "met", 1, ["Ann", "Bob"]),)
    ),
    "an empty set is nothing to lose": Case(
        ((0, (join("met", "Ann"),)), (1, (leave("met", "Ann"),)), (0, (put("met", 1),))), {"met": 1}, 3
    ),
    "a set begins where something else was": Case(
        ((0, (put("met", {"Ann": True}),)), (0, (join("met", "Bob"), join("met", "Cid")))),
        {"met": {"Bob": True, "Cid": True}}, 2, ((2, "met", 1, {"Ann": True}),),
    ),
    "a set counts on from nothing": Case(
        ((0, (join("met", "Ann"),)), (1, (add("met", 3),))), {"met": 3}, 2
    ),
    "an element leaves what is no set": Case(((0, (put("met", {"Ann": True}),)), (1, (leave("met", "Ann"),))), {"met": {"Ann": True}}, 2),
    "a base from the future begins a new snapshot": Case(
        ((0, (put("mood", "calm"),)), (5, (put("mood", "wild"),)), (FUTURE + 1, (add("n", 1),))),
        {"mood": "wild", "n": 1}, FUTURE + 2, ((FUTURE + 1, "mood", 1, "calm"),),
    ),
    "the store forgot twice": Case(
        ((7, (add("n", 1),)), (FUTURE + 9, (add("n", 1),)), (3, (put("mood", "calm"),))), {"n": 2, "mood": "calm"}, 2 * FUTURE + 2
    ),
    "too large": Case(((0, (add("n", 1),)), (0, (put("mood", "x" * 600),))), {"n": 1}, 1, refused="state_too_large"),
    "as large as may be": Case(((0, (put("mood", "x" * 486),)),), {"mood": "x" * 486}, 1),
    "too large by one": Case(((0, (put("mood", "x" * 487),)),), {}, 0, refused="state_too_large"),
}  # fmt: skip
MAX_BYTES = 497
"""For all of them: `.mood`, `1 l` and three bytes before the text."""
