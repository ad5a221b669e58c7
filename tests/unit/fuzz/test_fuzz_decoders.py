"""Whatever bytes come, every decoder reads them or refuses them in our own words: no other exception, and no hang."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json, msgpack
from tests.support.fuzzing import TARGETS, seeds

CRASHERS = Path(__file__).parent / "crashers"
"""A folder for each target: what once got through, by a fuzzer or by hand."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def nearly(draw: st.DrawFn, name: str) -> bytes:
    """Something right with some of its bytes changed, left out, or more of them."""
    data = bytearray(draw(st.sampled_from(seeds(name))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "drop", "insert", "cut"])):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "drop":
                del data[at : at + draw(st.integers(1, 4))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case _:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_nearly_right(name: str) -> None:
    @given(nearly(name))
    def tried(data: bytes) -> None:
        TARGETS[name](data)

    tried()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_well_formed_and_means_nothing(name: str) -> None:
    @given(st.binary(max_size=64) | VALUES.map(msgpack.encode) | VALUES.map(json.encode))
    def tried(data: bytes) -> None:
        TARGETS[name](data)

    tried()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


def crashers() -> list[Path]:
    return sorted(path for path in CRASHERS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", crashers(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_got_through_is_refused(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


NESTS = {
    "json-list": (b"[", b"]"),
    "json-object": (b'{"x":', b"}"),
    "msgpack-list": (b"\x91", b""),
    "msgpack-map": (b"\x81\xa1x", b""),
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_nested_100_000_times(name: str, nest: str) -> None:
    """Plain, and in a field that nobody knows."""
    opening, closing = NESTS[nest]
    deep = opening * 100_000 + closing * 100_000
    for data in (deep, b'{"message":"x","x":' + deep + b"}", b"\x82\xa7message\xa1x\xa1x" + deep):
        TARGETS[name](data)


def test_every_folder_of_crashers_is_of_a_target() -> None:
    assert {path.parent.name for path in crashers()} <= set(TARGETS)
