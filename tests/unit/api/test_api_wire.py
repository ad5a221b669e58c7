"""What clients send is read or refused with a stable code; nothing of it comes back in the error."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api import wire
from rolehost_api.errors import BadRequest


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(
            '{"message": "讲一个关于龙的短故事", "session_id": "abc123"}',
            wire.Said(message="讲一个关于龙的短故事", session_id="abc123"),
            id="no-type-is-a-message",
        ),
        pytest.param('{"type": "message", "message": "hi", "later": 1}', wire.Said(message="hi"), id="unknown-field"),
        pytest.param('{"type": null, "message": "hi"}', wire.Said(message="hi"), id="null-type"),
        pytest.param('{"type": "ping", "t": 5}', wire.Ping(t=5), id="ping"),
        pytest.param(
            '{"type": "session.resume", "session_id": "a", "after_seq": 3}',
            wire.Resume(session_id="a", after_seq=3),
            id="resume",
        ),
        pytest.param(
            '{"type":"response.cancel","session_id":"abc123","response_id":"r9","heard":{"chars":118,"audio_ms":6420}}',
            wire.Cancel(session_id="abc123", response_id="r9", heard=wire.HeardPart(chars=118, audio_ms=6420)),
            id="cancel-with-what-was-heard",
        ),
        pytest.param(
            '{"type": "response.cancel", "response_id": "r9"}', wire.Cancel(response_id="r9"), id="cancel-all-of-it"
        ),
        pytest.param(
            '{"message": "no, wait", "busy_policy": "interrupt", "heard": {"chars": 3}}',
            wire.Said(message="no, wait", busy_policy="interrupt", heard=wire.HeardPart(chars=3)),
            id="interrupt",
        ),
    ],
)
def test_frames_are_read(frame: str, expected: wire.ClientFrame) -> None:
    assert wire.read_frame(frame) == expected


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param("{", "malformed_json", id="cut"),
        pytest.param(b'{"message": "\xff"}', "malformed_json", id="not-utf-8"),
        pytest.param('{"message": "\\ud800"}', "malformed_json", id="lone-surrogate"),
        pytest.param('{"message": NaN}', "malformed_json", id="nan"),
        pytest.param("[" * 100_000, "invalid_frame", id="deep"),
        pytest.param('{"message": "x", "a": ' + "[" * 100_000, "malformed_json", id="deep-inside"),
        pytest.param('"text"', "invalid_frame", id="no-object"),
        pytest.param("{}", "invalid_frame", id="no-message"),
        pytest.param('{"message": 3}', "invalid_frame", id="wrong-type"),
        pytest.param('{"message": "x", "deadline_ms": 0}', "invalid_frame", id="bound"),
        pytest.param('{"message": "x", "busy_policy": "shout"}', "invalid_frame", id="unknown-policy"),
        pytest.param(
            '{"type": "response.cancel", "response_id": "r", "heard": {"chars": 3, "audio_ms": 99999999999}}',
            "invalid_frame",
            id="heard-for-years",
        ),
        pytest.param('{"type": "response.cancel"}', "invalid_frame", id="cancel-of-nothing"),
        pytest.param(
            '{"type": "response.cancel", "response_id": "r", "heard": {"chars": -1}}', "invalid_frame", id="heard-less"
        ),
        pytest.param(json.dumps({"message": "s" * 32_769}), "invalid_frame", id="too-long"),
        pytest.param('{"type": "secret-type"}', "unknown_type", id="unknown-type"),
    ],
)
def test_bad_frames_are_refused(frame: str | bytes, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        wire.read_frame(frame)
    assert refused.value.code == code
    assert "secret" not in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "message", "session_id", "after_seq", "t", "x"]), inner, max_size=4
            )
        ),
        max_leaves=6,
    )
)
def test_both_formats_are_read_alike(value: object) -> None:
    def outcome(read: Any, data: bytes) -> object:
        try:
            return read(data)
        except BadRequest as refused:
            return refused.code

    assert outcome(wire.read_frame, msgspec.json.encode(value)) == outcome(
        wire.read_packed, msgspec.msgpack.encode(value)
    )


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(b"", "malformed_msgpack", id="empty"),
        pytest.param(b"\x81\xa7message", "malformed_msgpack", id="cut"),
        pytest.param(b"\x81\xa7message\xa2\xff\xff", "malformed_msgpack", id="not-utf-8"),
        pytest.param(b"\x82\xa7message\xa1x\xa1y" + b"\x91" * 60_000, "malformed_msgpack", id="deep-inside"),
        pytest.param(b"\x80", "invalid_frame", id="no-message"),
        pytest.param(b"\x81\x01\xa1x", "invalid_frame", id="a-key-that-is-no-text"),
        pytest.param(b"\x81\xa7message\xd6\xff\x00\x00\x00\x01", "invalid_frame", id="a-time-for-a-text"),
        pytest.param(b"\x81\xa4type\xa5dance", "unknown_type", id="unknown-type"),
        pytest.param(b'{"message": "x"}', "invalid_frame", id="json"),
    ],
)
def test_bad_packed_frames_are_refused(frame: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        wire.read_packed(frame)
    assert refused.value.code == code


def test_the_done_frame_has_what_a_bare_client_waits_for() -> None:
    done = wire.ResponseDone(session_id="a", seq=1, ts=0, response_id="r", status="completed", message="从前")
    sent = json.loads(wire.encode(done))
    assert (sent["done"], sent["message"], sent["seq"]) == (True, "从前", 1)
