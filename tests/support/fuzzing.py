"""Everything that decodes what comes from outside, each as a function of bytes that may only refuse in our own words."""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET, msgpack

from rolehost_api import wire
from rolehost_api.errors import BadRequest, InvalidManifest, NotFound, ProtocolViolation, Unauthorized
from rolehost_api.link import framing, messages, peer
from rolehost_api.manifest import check
from rolehost_runtime.core import record, session, snapshot
from rolehost_runtime.core.dsl.compiling import compile_behavior
from rolehost_runtime.core.dsl.expressions import Facts, InvalidExpression, compile_expression
from rolehost_runtime.core.dsl.manifests import COMPILER
from rolehost_runtime.gateway.broker.state import redis_facts
from rolehost_runtime.gateway.broker.state.resp.connection import Connection
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal, label, meaning, moved_to, told
from rolehost_runtime.gateway.edge import minting, sse, tokens
from rolehost_runtime.gateway.edge.openai import requests
from rolehost_runtime.gateway.peers.relay import RemoteSeat

MAX_BYTES = 1 << 16


def frame_json(data: bytes) -> None:
    _frame(wire.read_frame, data)


def frame_packed(data: bytes) -> None:
    _frame(wire.read_packed, data)


def _frame(read: Callable[[bytes], wire.ClientFrame], data: bytes) -> None:
    with suppress(BadRequest):
        frame = read(data)
        assert isinstance(frame, wire.ClientFrame)
        assert wire.read_packed(wire.pack(frame)) == frame


def link(data: bytes) -> None:
    """Frames from a pod and from a gateway, in two pieces."""
    _framed((messages.ToGateway, messages.ToPod), data)


def peers(data: bytes) -> None:
    _framed((peer.ToOwner, peer.ToRelay), data)


def _framed(kinds: tuple[Any, Any], data: bytes) -> None:
    """As they come; and as one message, so that what is inside is reached without a right length."""
    cut = data[0] if data else 0
    whole = framing.HEADER.pack(min(len(data), framing.MAX_PAYLOAD), 0, 1) + data[: framing.MAX_PAYLOAD]
    for kind in kinds:
        for stream in (data, whole):
            decoder: framing.Decoder[Any] = framing.Decoder(kind)
            with suppress(ProtocolViolation):
                for piece in (stream[:cut], stream[cut:]):
                    for channel, message, size in decoder.feed(piece):
                        assert 0 <= channel < 1 << 32
                        assert size <= framing.MAX_MESSAGE
                        assert isinstance(message, kind)


class _Deaf:
    def send(self, event: wire.ServerFrame) -> None:
        assert isinstance(event, wire.ServerFrame)


def relayed(data: bytes) -> None:
    """An event that the owner of a session says through another gateway."""
    seat = RemoteSeat.__new__(RemoteSeat)
    seat._pieces, seat._ear = bytearray(), _Deaf()  # type: ignore[assignment]
    with suppress(ProtocolViolation):
        seat._heard(peer.Heard(data=data[: peer.HEARD_BYTES]))


def records(data: bytes) -> None:
    """Bodies whose checksum is right, of each version; entries as they are; notes of open turns; snapshots."""
    for version in (record.TURN_VERSION, record.AMEND_VERSION):
        fields = {b"v": str(version).encode(), b"crc32": f"{zlib.crc32(data):08x}".encode(), b"body": data}
        with suppress(record.CorruptRecord):
            found = record.decode(fields)
            assert record.decode({name.encode(): value for name, value in record.encode(found).items()}) == found
    with suppress(record.CorruptRecord):
        record.decode({b"v": data[:1], b"crc32": data[1:9], b"body": data[9:]})
    session.decode_open(data)
    for kept in (data, b"%d %08x " % (snapshot.SNAPSHOT_VERSION, zlib.crc32(data)) + data):
        with suppress(record.CorruptRecord):
            whole = snapshot.decode(kept)
            assert snapshot.decode(snapshot.encode(whole)) == whole


class _Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


_loop: list[asyncio.AbstractEventLoop] = []


def resp(data: bytes) -> None:
    """What a Redis answers, in two pieces, to two who wait; and what is made of it."""
    if not _loop:
        _loop.append(asyncio.new_event_loop())
    asyncio._set_running_loop(_loop[0])
    try:
        connection, transport = Connection(0, lambda _: None), _Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        answers: list[Any] = []

        class Waiting:
            answered = answers.append

            def lost(self) -> None:
                """Told by the end of the connection only."""

        connection._expected = deque([Waiting(), Waiting()])
        cut = data[0] if data else 0
        for piece in (data[:cut], data[cut:]):
            if not transport.aborted:
                connection.data_received(piece)
    finally:
        asyncio._set_running_loop(None)
    assert len(answers) <= 2
    for text in [str(answer) for answer in answers if isinstance(answer, Refusal)] + [data.decode("latin-1")]:
        refusal = Refusal(text)
        assert label(refusal) == refusal.word or label(refusal) == "other"
        assert told(refusal).code == meaning(refusal).code
        moved_to(refusal)
    redis_facts.store_facts(redis_facts.parse_info(data), None, (0, 0))


def grpc(data: bytes) -> None:
    from rolehost_runtime.gateway.edge.grpc import codec

    for read in (codec.read_open, codec.read_frame, codec.read_watch):
        with suppress(BadRequest):
            read(data)


def bodies(data: bytes) -> None:
    """Of requests: OpenAI's, for a token; and what a stream's reader says it heard last."""
    with suppress(BadRequest, NotFound):
        asked = requests.read(data, {})
        assert all(name.isascii() and "\n" not in name for name in asked.dropped)
    with suppress(BadRequest):
        minting._read(data)
    text = data.decode("latin-1")
    with suppress(BadRequest):
        heard = sse.heard(text)
        assert sse.heard(str(heard)) == heard
    sse.wants_stream(text)
    with suppress(Unauthorized):
        tokens.verified(bytes(32), text, 0)


def expressions(data: bytes) -> None:
    """A condition; and a value of a Role's state."""
    text = data.decode("utf-8", "replace")
    with suppress(InvalidExpression):
        verdict = compile_expression(text).judge(Facts(message=text[:64], state={"x": len(text), "words": ["a"]}))
        assert isinstance(verdict.holds, bool)


def behaviors(data: bytes) -> None:
    """A manifest with this for a behaviour, as text; and as a revision has it."""
    for finding in check(MANIFEST + data, compiler=COMPILER):
        assert finding.shown("role.yaml")
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidManifest):
        compile_behavior(msgspec.json.decode(data, type=dict[str, Any]))


MANIFEST = (
    b"apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
    b"spec:\n  template:\n    persona: {system: x}\n    behavior: "
)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (frame_json, frame_packed, link, peers, relayed, records, resp, grpc, bodies, expressions, behaviors)
}


def seeds(name: str) -> list[bytes]:
    """Something that is right, from where a fuzzer finds its way."""
    said = wire.Said(message="hello", session_id="abc", client_msg_id="c1", deadline_ms=1000)
    event = wire.ResponseDone(session_id="abc", seq=1, ts=1, response_id="r1", status="completed", message="hi")
    turn = record.TurnRecord(
        log_id="l", epoch=1, turn=1, seq_first=1, seq_count=2, version=1, now_ms=1, at_ms=1, revision="cat-1",
        response_id="r1", input="hi", reply="ho", patch=(messages.PatchOp("incr", "/turns", 1),),
    )  # fmt: skip
    found: dict[str, list[bytes]] = {
        "frame_json": [wire.encode(said), b'{"type":"ping","t":1}', b'{"type":"session.resume","after_seq":3}'],
        "frame_packed": [wire.pack(said)],
        "link": [framing.encode(1, messages.Say(index=0, text="x")), msgpack.encode(messages.Commit(patch=turn.patch))],
        "peers": [framing.encode(1, peer.Forward(number=1, said=said))],
        "relayed": [wire.pack(event)],
        "records": [record.encode(turn)["body"]],
        "resp": [b"\x00*2\r\n$2\r\nok\r\n:1\r\n", b"\x05-MOVED 3999 127.0.0.1:6381\r\n", b"a:1\r\nb:x\r\n"],
        "grpc": [b"\x0a\x06\x0a\x04cat1", b"\x12\x04\x0a\x02hi"],
        "bodies": [
            b'{"model":"cat","messages":[{"role":"user","content":"hi"}],"metadata":{"session_id":"s"}}',
            b'{"user":"u-17","role":"cat"}',
            b"7.r1.118",
        ],
        "expressions": [
            b"message.lowerAscii().contains('dragon') && turn > 1 || ['a', \"\\u9f99\"].exists(w, message.startsWith(w))",
            b"has(state.x) ? state.x + 1 > 3 : -turn % 2 == 0 && 'a' in state.words && double(turn) / 0.5 >= 1e3",
        ],
        "behaviors": [
            b'{"initial":"A","nodes":{"A":{"prompt":"x","enter":{"set":{"x":"state.x + 1"}}},"B":{}},"state":{"x":{"type":"int"}},'
            b'"edges":[{"from":"A","to":"B","when":"state.x > 3","weight":0.5,"cooldown":{"turns":2}}]}',
            b"\n      subgraphs:\n        a: {initial: A, nodes: {A: {}}, edges: [{from: A, to: A, when: turn > 3}]}\n",
        ],
    }
    assert event.of is UNSET
    return found[name]
