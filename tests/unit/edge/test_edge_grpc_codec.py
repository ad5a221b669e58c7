"""Frames in Protocol Buffers: what goes in comes out, what is published is what is spoken, and no bytes break the reader."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import rpc
from tests.unit.wire.test_wire_schema import SENT

from rolehost_api import wire
from rolehost_api.errors import BadRequest, Conflict, Forbidden, NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import PatchOp
from rolehost_api.proto.calls import Open
from rolehost_runtime.gateway.edge.grpc import codec, messages, status
from rolehost_runtime.gateway.edge.grpc.converse import _TooSlow


def test_the_published_file_describes_what_is_spoken() -> None:
    """A compiler's view of it and ours are the same, to the last number."""
    assert messages.described() == rpc.compiled()


@pytest.mark.parametrize("frame", SENT, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_out_as_it_does_in_json(frame: wire.ServerFrame) -> None:
    heard = rpc.plain(rpc.ServerEvent.FromString(codec.event(frame)))
    assert heard == rpc.bare(json.loads(wire.encode(frame)))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SAID = st.builds(
    wire.Said,
    message=TEXT,
    session_id=st.none() | TEXT,
    client_msg_id=st.none() | TEXT,
    deadline_ms=st.none() | st.integers(1, 600_000),
    user=st.none() | TEXT,
    revision=st.none() | TEXT,
)
RESUME = st.builds(wire.Resume, session_id=TEXT, after_seq=st.integers(0, 2**63 - 1))
PING = st.builds(wire.Ping, t=st.integers(-(2**63), 2**63 - 1))


@given(SAID | RESUME | PING)
def test_what_a_client_says_is_read_as_it_is_from_json(frame: wire.ClientFrame) -> None:
    fields = {name: value for name, value in json.loads(wire.encode(frame)).items() if value is not None}
    name = fields.pop("type").replace(".", "_")
    assert codec.read_frame(rpc.ClientEvent(**{name: fields}).SerializeToString()) == frame


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_bad_request(data: bytes) -> None:
    for read in (codec.read_frame, codec.read_open, codec.read_watch):
        with suppress(BadRequest):
            read(data)


def test_what_is_absent_is_the_default_and_what_is_zero_is_not() -> None:
    assert codec.read_open(rpc.opened("cat").SerializeToString()) == Open(role="cat")
    asked = rpc.opened("cat", session_id="", after_seq=0, stream=False)
    assert codec.read_open(asked.SerializeToString()) == Open(role="cat", session_id="", after_seq=0, stream=False)


def test_a_patch_is_one_by_the_book() -> None:
    """What sets a value to null says so, and a removal has none."""
    frame = wire.StateDelta(
        session_id="s", seq=1, ts=1, version=7, is_urgent=True,
        patch=(PatchOp("add", "/a", None), PatchOp("remove", "/b"), PatchOp("incr", "/c", 2)),
    )  # fmt: skip
    update = rpc.StateUpdate.FromString(codec.update(frame))
    assert (update.session_id, update.version, update.is_urgent) == ("s", 7, True)
    assert msgspec.json.decode(update.patch) == [
        {"op": "add", "path": "/a", "value": None},
        {"op": "remove", "path": "/b"},
        {"op": "incr", "path": "/c", "value": 2},
    ]


def test_a_state_update_has_the_bytes_that_were_promised() -> None:
    frame = wire.StateDelta(session_id="s", seq=1, ts=1, version=7, is_urgent=True, patch=())
    assert codec.update(frame) == b"\x0a\x01s" + b"\x12\x02[]" + b"\x18\x07" + b"\x20\x01"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (BadRequest("m"), "INVALID_ARGUMENT"),
        (Forbidden("m"), "PERMISSION_DENIED"),
        (NotFound("m"), "NOT_FOUND"),
        (Conflict("m"), "ABORTED"),
        (Overloaded("m"), "RESOURCE_EXHAUSTED"),
        (Unavailable("m"), "UNAVAILABLE"),
        (_TooSlow("m"), "DEADLINE_EXCEEDED"),
        (RolehostError("m"), "INTERNAL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_has_the_status_that_it_has_over_http(error: RolehostError, name: str) -> None:
    assert status.status(error).name == name


def test_trailers_say_when_to_come_again_where_that_is_known() -> None:
    error: Any = Overloaded("m", code="busy")
    assert status.trailers(error) == (("rolehost-code", "busy"),)
    error.retry_after_ms = 800
    assert status.trailers(error) == (("rolehost-code", "busy"), ("rolehost-retry-after-ms", "800"))
