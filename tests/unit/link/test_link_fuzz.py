"""A hostile pod says anything at all: its link closes or its words are harmless, and nothing else notices."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.logs import turns
from tests.support.proof import NUMBERS, SOAK
from tests.support.rooms import (
    ACME,
    CAT_1,
    EVIL,
    NONCE,
    Clock,
    Ear,
    FakePod,
    PodDialer,
    Shelves,
    pod_entry,
    principal,
    put,
    world,
)

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import ProtocolViolation, RolehostError
from rolehost_api.identity import session_key
from rolehost_api.link.framing import HEADER, encode
from rolehost_api.link.messages import (
    Bound,
    CallModel,
    CallTool,
    Commit,
    Credit,
    Draining,
    Emitted,
    Evicted,
    Fetch,
    Hello,
    HistorySegment,
    InputSegment,
    LogBatch,
    LogLine,
    Message,
    NeedState,
    Noticed,
    PatchOp,
    PersonaSegment,
    Probe,
    Recall,
    Remember,
    Say,
    TextSegment,
    TurnFailed,
)
from rolehost_api.link.tools import ToolOutcome, ToolSpec
from rolehost_api.wire import ResponseDone, Said
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.link.rules import TurnRules
from rolehost_runtime.gateway.sessions.service import SessionService

INDEX = st.integers(0, 3)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70).filter(lambda n: abs(n) < 2**63)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OPS = st.builds(
    PatchOp,
    st.sampled_from(["add", "remove", "replace", "incr"]),
    st.sampled_from(["/turns", "/a/b", "/a/-", "", "x"]),
    JSON,
)
SEGMENTS = st.lists(
    st.one_of(
        st.builds(PersonaSegment, st.integers(0, 2)),
        st.builds(TextSegment, st.sampled_from(["system", "user", "persona"]), st.text(max_size=8)),
        st.builds(HistorySegment, st.integers(0, 100)),
        st.just(InputSegment()),
    ),
    max_size=4,
).map(tuple)
WORDS = st.text(max_size=8)
SPECS = st.builds(
    ToolSpec,
    name=st.sampled_from(["stars", "maps__route", "*"]),
    description=WORDS,
    parameters=st.sampled_from([b"", b"{", b"[]", b'{"type": "object"}']) | st.binary(max_size=8),
)
LINES = st.lists(
    st.builds(LogLine, number=INDEX, at_ms=INDEX, stream=st.just("stdout"), text=WORDS, session=WORDS), max_size=2
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Say, index=INDEX, text=WORDS),
    st.builds(CallModel, index=INDEX, segments=SEGMENTS, stream=st.booleans()),
    st.builds(
        CallModel,
        index=INDEX,
        segments=st.just(()),
        stream=st.booleans(),
        tools=st.sampled_from([(), ("*",), ("stars",)]),
        continues=INDEX,
        results=st.lists(st.builds(ToolOutcome, id=st.just("c1"), text=WORDS, error=WORDS), max_size=2).map(tuple),
    ),
    st.just(NeedState()),
    st.builds(
        Commit,
        emitted=st.lists(st.builds(Emitted, WORDS, st.dictionaries(WORDS, JSON, max_size=2)), max_size=2).map(tuple),
        patch=st.lists(OPS, max_size=3).map(tuple),
        atoms=st.lists(st.builds(Remember, text=WORDS, subject=WORDS, asserted=st.booleans()), max_size=3).map(tuple),
        forgotten=st.lists(WORDS, max_size=2).map(tuple),
    ),
    st.builds(CallTool, index=INDEX, name=st.sampled_from(["stars", "maps__route"]), arguments=WORDS),
    st.builds(Recall, index=INDEX, query=WORDS, k=st.integers(1, 3), to_forget=st.booleans()),
    st.builds(Fetch, index=INDEX, url=WORDS, body=st.binary(max_size=8)),
    st.builds(TurnFailed, code=WORDS, where=WORDS),
    st.builds(Noticed, index=INDEX, stop=st.booleans()),
    st.builds(Hello, protocols=st.just((1,)), nonce=st.just(NONCE), probe=st.just(Probe(gvisor=True, token=False))),
    st.builds(Bound, hash=WORDS, tools=st.lists(SPECS, max_size=3).map(tuple)),
    st.builds(Evicted, sessions=st.lists(WORDS, max_size=2).map(tuple)),
    st.just(Draining()),
    st.builds(Credit, bytes=st.integers(1, 16_777_216)),
    st.builds(LogBatch, request=INDEX, lines=LINES.map(tuple)),
)
CHANNEL = st.integers(0, 3) | st.just(2**32 - 1)


def raw(channel: int, payload: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(len(payload), flags, channel) + payload


FRAMES = st.one_of(
    st.builds(encode, CHANNEL, MESSAGES),
    st.builds(raw, CHANNEL, st.binary(max_size=40), st.integers(0, 3)),
    st.builds(raw, CHANNEL, st.builds(msgspec.msgpack.encode, JSON)),
    st.binary(max_size=40),
)


@given(st.lists(MESSAGES, max_size=12), st.booleans())
def test_a_turn_only_ever_moves_by_its_table(said: list[Message], left_out: bool) -> None:
    rules = TurnRules(state_left_out=left_out)
    effects = []
    for message in said:
        try:
            rules.heard(message)
        except ProtocolViolation:
            continue
        if isinstance(message, Say | CallModel | Recall | CallTool | Fetch):
            effects.append(message.index)
        if isinstance(message, CallModel | Recall | CallTool | Fetch):
            rules.answered(message.index)
    assert effects == list(range(len(effects)))


@pytest.mark.timeout(300 if not SOAK else 7200)
@settings(max_examples=NUMBERS.turns_forged, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, min_size=1, max_size=12))
def test_a_hostile_pod_touches_nobody_else(frames: list[bytes]) -> None:
    asyncio.run(_one_hostile_and_one_honest(frames))


async def _one_hostile_and_one_honest(frames: list[bytes]) -> None:
    """Whatever the hostile pod of `evil` sends in mid-turn, `acme`'s session goes on and its log stays its own."""
    tables, dialer, clock, store = world(ACME, EVIL), PodDialer(), Clock(), MemorySessionStore()
    pool = LinkPool(tables, dialer, Shelves(), dialer.key, clock, "gw", backoff_seconds=(0,))
    service = SessionService(tables, pool, store, Models({BackendType.SCRIPTED: ScriptedProvider()}), clock)
    loop_errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))

    async def hostile(pod: FakePod, channel: int, start: Any) -> None:
        for frame in frames:
            if pod.pipe is not None:
                pod.pipe.write(frame)
        await asyncio.sleep(0)
        pod.lose()

    await pool.start()
    dialer.add("p1")
    dialer.add("p2", turn=hostile)
    put(tables, pod_entry("p1"), pod_entry("p2", EVIL))
    good, bad = Ear(), Ear()
    roles = {tenant.name: tables.roles.get(tenant.name, "cat") for tenant in (ACME, EVIL)}
    assert roles["acme"] is not None
    assert roles["evil"] is not None
    mine = await service.attach(principal(ACME), roles["acme"], "abc", good)
    theirs = await service.attach(principal(EVIL), roles["evil"], "abc", bad)
    await mine.say(Said(message="before"))
    try:
        await theirs.say(Said(message="attack"))
    except RolehostError:
        assert not any(done.status == "completed" for done in bad.of(ResponseDone))
    await mine.say(Said(message="again"))
    assert [done.message for done in good.of(ResponseDone)] == ["You said before.", "Before: before"]
    mine_key, theirs_key = (session_key(tenant.uid, "cat", principal(tenant).id, "abc") for tenant in (ACME, EVIL))
    assert [record.input for record in turns(await store.read(mine_key))] == ["before", "again"]
    for record in turns(await store.read(theirs_key)):  # a well-formed turn is the hostile tenant's own affair
        assert (record.input, record.revision, record.turn) == ("attack", CAT_1, 1)
    assert {report.uid: report.loaded for report in pool._pod_reports()}["p1"]
    await service.stop(0)
    await pool.stop()
    assert loop_errors == []


@pytest.mark.parametrize("size", [65_537, 2**31])
def test_a_frame_that_promises_too_much_is_refused_before_it_comes(size: int) -> None:
    from rolehost_api.link.framing import Decoder
    from rolehost_api.link.messages import ToGateway

    decoder: Decoder[Any] = Decoder(ToGateway)
    with pytest.raises(ProtocolViolation):
        decoder.feed(HEADER.pack(size, 0, 1))


def test_the_messages_of_this_test_are_the_messages_there_are() -> None:
    """A message that joins the link joins this fuzz."""
    from rolehost_api.link import messages

    covered = {
        Hello, Bound, LogBatch, Evicted, Draining, Credit, Say, CallModel, NeedState, Commit, TurnFailed,
        Recall, CallTool, Fetch, Noticed,
    }  # fmt: skip
    assert set(messages.ToGateway.__args__) == covered
    assert replace(Credit(bytes=1), bytes=2).bytes == 2
