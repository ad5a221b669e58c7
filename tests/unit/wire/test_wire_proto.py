"""The `.proto`: a number once given is never given to something else, and every type has its message.

`recorded/proto-numbers-<N>.json` holds the numbers of a release, and is never written again.
"""

import re
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from rolehost_api import wire
from rolehost_api.proto import numbers, shapes, text
from rolehost_api.proto.shapes import MessageShape, Shape
from rolehost_api.render_wire import rendered

RECORDED = sorted((Path(__file__).parent / "recorded").glob("proto-numbers-*.json"))
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
VERSIONS = st.lists(
    st.dictionaries(st.sampled_from(["M", "N"]), st.lists(NAMES, unique=True, max_size=6), max_size=2), max_size=8
)


def shape(name: str, kind: str = "string") -> Shape:
    return Shape(name, kind, attribute=name)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_every_number_that_was_given_still_stands_for_the_same(file: Path) -> None:
    today = numbers.load()
    for message, given_then in numbers.read(file.read_bytes()).items():
        for field, was in given_then.items():
            assert today[message].get(field) == was, f"{message}.{field}"


def test_there_is_a_record() -> None:
    assert RECORDED


def test_the_state_update_has_the_numbers_that_were_promised() -> None:
    assert numbers.load()["StateUpdate"] == {
        "session_id": (1, "string"),
        "patch": (2, "bytes"),
        "version": (3, "uint64"),
        "is_urgent": (4, "bool"),
    }


@given(VERSIONS)
def test_however_messages_change_a_number_is_given_once(versions: list[dict[str, list[str]]]) -> None:
    table: numbers.Table = {}
    for version in versions:
        then = table
        table = numbers.extended(
            then, [MessageShape(name, tuple(shape(field) for field in fields)) for name, fields in version.items()]
        )
        for message, fields in then.items():
            assert fields.items() <= table[message].items()
        for name, wanted in version.items():
            given_now = [number for number, _ in table[name].values()]
            assert set(wanted) <= set(table[name])
            assert len(given_now) == len(set(given_now))
            assert min(given_now, default=1) == 1


def test_a_field_of_another_type_needs_another_name() -> None:
    table = numbers.extended({}, [MessageShape("M", (shape("a"),))])
    with pytest.raises(ValueError, match=r"M\.a is int64 and was string"):
        numbers.extended(table, [MessageShape("M", (shape("a", "int64"),))])


def test_what_is_gone_is_reserved() -> None:
    table = numbers.extended({}, [MessageShape("M", (shape("a"), shape("b")))])
    left = MessageShape("M", (shape("b"),))
    written = text.proto(numbers.extended(table, [left]), [left], "notice")
    assert 'message M {\n  reserved 1;\n  reserved "a";\n  string b = 2;\n}' in written


def test_the_table_is_read_as_it_was_written() -> None:
    assert numbers.read(numbers.written(numbers.load()).encode()) == numbers.load()


def test_every_frame_is_in_the_file_under_its_own_name() -> None:
    [written] = [text for path, text in rendered().items() if path.suffix == ".proto"]
    for frame in (*get_args(wire.ClientFrame), *get_args(wire.ServerFrame)):
        tag = frame.__struct_config__.tag
        assert re.search(rf"^    {frame.__name__} {tag.replace('.', '_')} = \d+;$", written, re.MULTILINE), tag


class Two(Struct):
    either: int | str


class Numbers(Struct):
    literal: Literal[1, 2]


@pytest.mark.parametrize("kind", [Two, Numbers])
def test_a_type_that_has_no_place_is_said_and_not_guessed(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"no place|may be literal"):
        list(shapes._reached(kind))
