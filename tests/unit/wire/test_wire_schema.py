"""The published schemas say what the types say, frame by frame."""

import json

import jsonschema
import msgspec
import pytest

from rolehost_api import wire
from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import PatchOp
from rolehost_api.render_wire import asyncapi, json_schema

SENT: list[wire.ServerFrame] = [
    wire.SessionCreated(
        session_id="abc123",
        seq=None,
        ts=1,
        role="storyteller@r3",
        head=0,
        version=0,
        durability="local-fsync",
        heartbeat_ms=5000,
        resume_ttl_s=300,
        display_name="Storyteller",
    ),
    wire.ResponseCreated(session_id="abc123", seq=None, ts=1, response_id="r1", client_msg_id="c-7"),
    wire.TextDelta(session_id="abc123", seq=None, ts=1, response_id="r1", offset=0, delta="从前，"),
    wire.StateDelta(
        session_id="abc123", seq=1, ts=1, version=2, is_urgent=False, patch=(PatchOp("incr", "/dragons", 1),)
    ),
    wire.BehaviorTransition(
        session_id="abc123",
        seq=1,
        ts=1,
        from_="Idle",
        to="Explore",
        edge=wire.TakenEdge(weight=0.8, of=1.0, why="hears_dragon"),
        subgraph="main",
        response_id="r1",
    ),
    wire.ResponseDone(session_id="abc123", seq=2, ts=1, response_id="r1", status="completed", message="从前"),
    wire.ResponseDone(
        session_id="abc123",
        seq=3,
        ts=1,
        response_id="r2",
        status="cancelled",
        message="从",
        truncated_at=wire.HeardPart(chars=1, audio_ms=640),
    ),
    wire.ResponseAmended(
        session_id="abc123", seq=4, ts=1, response_id="r2", message="", truncated_at=wire.HeardPart(chars=0)
    ),
    wire.ResponseReset(session_id="abc123", seq=None, ts=1, response_id="r3"),
    wire.Error(session_id=None, seq=None, ts=1, error=wire.ErrorBody(code="busy", message="m", retry_after_ms=5)),
    wire.Resumed(session_id="abc123", seq=None, ts=1, from_seq=5, to_seq=9),
    wire.RevisionChanged(session_id="abc123", seq=None, ts=1, from_="@r4", to="@r3", reason="rollback"),
    wire.Switched(
        session_id="abc123", seq=None, ts=1, of=wire.Of(role="tutor", user="u-17"), from_="storyteller", to="tutor"
    ),
    wire.Migrate(session_id="abc123", seq=None, ts=1, reconnect_after_ms=0, reason="drain"),
    wire.Snapshot(
        session_id="abc123",
        seq=None,
        ts=1,
        at_seq=9,
        version=3,
        state={"dragons": 1},
        transcript=(wire.Exchanged(input="hi", reply="从前"),),
        truncated=True,
    ),
    wire.Urgent(
        session_id="abc123", seq=None, ts=1, version=3, is_urgent=True, heartbeat_ms=500, reason="grpc_stalled"
    ),
    wire.ChannelDegraded(
        session_id="abc123",
        seq=None,
        ts=1,
        mode="ws+poll",
        last_version=3,
        poll="/v1/roles/cat/sessions/abc123/state?after_version=3",
        poll_ms=1000,
    ),
    wire.ChannelDegraded(session_id="abc123", seq=None, ts=1, mode="normal", last_version=3),
    wire.MemoryCommitted(
        session_id="abc123",
        seq=3,
        ts=1,
        atoms=(wire.MemoryAtom(id="a", kind="rel", text="用户 → 怕 → 蜘蛛", source_turn=1, asserted=True),),
        forgotten=("b",),
        confirmed=("c",),
    ),
    wire.CustomEvent(
        session_id="abc123", seq=4, ts=1, name="custom.mood", data={"level": [1, {"a": "b"}]}, response_id="r1"
    ),
    wire.Updated(session_id=None, seq=None, ts=1, heartbeat_ms=2000),
    wire.Pong(session_id=None, seq=None, ts=1, t=1, server_t=2),
]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json_schema()
    return jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{name}"})


def test_the_document_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("frame", SENT, ids=lambda frame: type(frame).__name__)
def test_what_is_sent_fits_the_schema(frame: wire.ServerFrame) -> None:
    validator("ServerFrame").validate(json.loads(wire.encode(frame)))
    validator(type(frame).__name__).validate(json.loads(wire.encode(frame)))


def test_every_event_has_its_case_here() -> None:
    assert {type(frame).__name__ for frame in SENT} == {
        ref["$ref"].rsplit("/", 1)[1] for ref in json_schema()["$defs"]["ServerFrame"]["anyOf"]
    }


@pytest.mark.parametrize(
    ("frame", "fits"),
    [
        pytest.param({"message": "讲一个关于龙的短故事", "session_id": "abc123"}, True, id="bare"),
        pytest.param({"type": "message", "message": "hi", "deadline_ms": 1500, "user": "u-17"}, True, id="full"),
        pytest.param({"type": "session.resume", "session_id": "abc123", "after_seq": 41}, True, id="resume"),
        pytest.param({"type": "ping", "t": 1}, True, id="ping"),
        pytest.param({"type": "session.update", "session": {"heartbeat_ms": 500, "mood": 1}}, True, id="update"),
        pytest.param({"type": "session.update"}, False, id="update-of-nothing"),
        pytest.param({"message": "hi", "mood": "good"}, True, id="unknown-field-is-ignored"),
        pytest.param({"session_id": "abc123"}, False, id="no-message"),
        pytest.param({"message": 7}, False, id="wrong-type"),
        pytest.param({"message": "x" * (wire.MAX_MESSAGE_CHARS + 1)}, False, id="too-long"),
        pytest.param({"type": "session.resume", "session_id": "abc123", "after_seq": -1}, False, id="negative"),
        pytest.param({"type": "dance", "message": "hi"}, False, id="unknown-type"),
    ],
)
def test_schema_and_reader_agree_on_what_clients_say(frame: dict[str, object], fits: bool) -> None:
    assert validator("ClientFrame").is_valid(frame) is fits
    try:
        wire.read_frame(msgspec.json.encode(frame))
    except BadRequest:
        assert not fits
    else:
        assert fits


def test_asyncapi_names_every_frame_and_points_at_nothing_missing() -> None:
    document = asyncapi()
    messages = document["components"]["messages"]
    assert {"message", "session.resume", "ping", "response.done", "error"} <= {one["name"] for one in messages.values()}
    assert "ClientFrame" not in document["components"]["schemas"]
    for reference in _references(document):
        found: object = document
        for step in reference.removeprefix("#/").split("/"):
            assert isinstance(found, dict)
            found = found[step]


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        mine = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return mine + [found for child in value.values() for found in _references(child)]
    if isinstance(value, list):
        return [found for child in value for found in _references(child)]
    return []
