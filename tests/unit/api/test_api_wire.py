"""What clients send is read or refused with a stable code; nothing of it comes back in the error."""

import json

import pytest

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


def test_the_done_frame_has_what_a_bare_client_waits_for() -> None:
    done = wire.ResponseDone(session_id="a", seq=1, ts=0, response_id="r", status="completed", message="从前")
    sent = json.loads(wire.encode(done))
    assert (sent["done"], sent["message"], sent["seq"]) == (True, "从前", 1)
