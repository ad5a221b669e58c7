"""Handshake, binding and bundles against the real agent: who may speak, and what may be loaded."""

import asyncio
import gzip
import io
import os
import signal
import tarfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.pod import End, agent, descendants

from rolehost_api import bundle
from rolehost_api.link.framing import HEADER, WINDOW
from rolehost_api.link.messages import (
    Bind,
    Bound,
    BundleChunk,
    CallModel,
    Commit,
    Committed,
    Draining,
    Hello,
    LogBatch,
    LogicSource,
    ModelResult,
    Prove,
    ReadLogs,
    StartTurn,
    StopLogs,
    TurnFailed,
    proof_text,
)
from rolehost_runtime.sandbox.probe import answers_by_udp

GOOD = """
from rolehost import Role
cat = Role("cat")
"""


def logic_of(archive: bytes, entrypoint: str = "story:cat", digest: str = "") -> LogicSource:
    return LogicSource(
        entrypoint=entrypoint,
        bundle_digest=digest or bundle.inspect(archive).digest,
        bundle_bytes=len(archive),
    )


def packed(**files: str) -> bytes:
    return bundle.compress(
        bundle.pack_files({name.replace("_py", ".py"): text.encode() for name, text in files.items()})
    )


# ── who may speak ───────────────────────────────────────────────────────────────────


async def test_nothing_is_taken_before_a_valid_proof() -> None:
    async with agent() as pod:
        for first in (
            Bind(revision="r", hash="h", role="cat", persona=(), permissions=()),
            StartTurn(session="s", session_id="s", turn=1, version=0, message="", now_ms=0, rng_seed=0, deadline_ms=1),
            Prove(protocol=1, signature=bytes(64)),
            Prove(protocol=99, signature=bytes(64)),
        ):
            end = await pod.dial()
            await end.hear(0, Hello)
            await end.send(0, first)
            assert await end.closed()
        stranger = await pod.dial()
        await stranger.prove(Ed25519PrivateKey.generate())
        assert await stranger.closed()
        other_pod = await pod.dial()
        await other_pod.prove(pod.key, "another-pod")
        assert await other_pod.closed()
        assert await (await pod.link()).bind()


async def test_a_proof_is_worth_nothing_on_another_link() -> None:
    async with agent() as pod:
        one, other = await pod.dial(), await pod.dial()
        hello = await one.hear(0, Hello)
        text = proof_text(hello.nonce, "pod-uid-1", one.fingerprint)
        await other.send(0, Prove(protocol=1, signature=pod.key.sign(text)))
        await other.hear(0, Hello)
        assert await other.closed()


async def test_the_probe_of_this_machine_is_told_as_it_is() -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    open_port = server.sockets[0].getsockname()[1]
    async with server, agent(ROLEHOST_PROBE_TARGETS=f"127.0.0.1:{open_port},127.0.0.1:1,[::1]:1") as pod:
        probe = (await (await pod.dial()).hear(0, Hello)).probe
        assert probe.reached == (f"127.0.0.1:{open_port}",)
        assert len(probe.tried) == 3
        assert not probe.gvisor
        assert not probe.token
        assert probe.kernel.startswith("Linux version")


async def test_a_name_server_that_answers_is_a_way_out_and_one_that_is_silent_is_not() -> None:
    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: object) -> None:
            self.transport.sendto(data, addr)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    silent, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    answering, _ = await loop.create_datagram_endpoint(Answers, ("127.0.0.1", 0))
    assert await answers_by_udp(*answering.get_extra_info("sockname"))
    assert not await answers_by_udp(*silent.get_extra_info("sockname"))
    answering.close()
    silent.close()


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(HEADER.pack(1 << 31, 0, 0), id="length-of-gigabytes"),
        pytest.param(HEADER.pack(3, 0, 0) + b"\xff\xff\xff", id="no-message"),
        pytest.param(HEADER.pack(4, 7, 0) + b"abcd", id="unknown-flags"),
    ],
)
async def test_noise_closes_the_link_and_nothing_else(noise: bytes) -> None:
    async with agent() as pod:
        good = await pod.link()
        bad = await pod.link()
        bad.writer.write(noise)
        assert await bad.closed()
        assert (await good.bind()).error is None
        assert (await good.turn()).said == "<0>"


async def test_an_answer_that_nobody_asked_for_closes_the_link() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind()
        channel = await end.start()
        await end.hear(channel, CallModel)
        await end.send(channel, ModelResult(index=7))
        assert await end.closed()
        assert (await (await pod.link()).turn()).said == "<0>"


# ── binding ─────────────────────────────────────────────────────────────────────────


async def test_a_pod_is_bound_once_and_says_to_what() -> None:
    async with agent() as pod:
        assert await pod.get("/ready") == 503
        end = await pod.link()
        early = await end.start()
        assert await end.hear(early, TurnFailed) == TurnFailed(code="not_bound")
        assert (await end.bind(GOOD)).error is None
        assert (await end.bind(GOOD)).error is None
        refused = (await end.bind(GOOD, hash="h2")).error
        assert refused is not None
        assert refused.code == "already_bound"
        assert await pod.get("/ready") == 200
        assert (await (await pod.dial()).hear(0, Hello)).bound == "h1"
        assert (await end.turn()).said == "<0>"


async def test_a_pod_stays_ready_whatever_happens_to_its_links() -> None:
    async with agent() as pod:
        end = await pod.link()
        assert (await end.bind(GOOD)).error is None
        for _ in range(3):
            await end.close()
            assert await pod.get("/ready") == 200
            end = await pod.link()
            assert (await end.turn()).said == "<0>"
        end.writer.write(HEADER.pack(1 << 31, 0, 0))
        assert await end.closed()
        assert await pod.get("/ready") == 200


async def test_a_pod_says_that_somebody_binds_it_until_that_is_over() -> None:
    async with agent() as pod:
        archive = packed(story_py=GOOD)
        bind = Bind(revision="r-1", hash="h1", role="cat", persona=("Be.",), permissions=(), logic=logic_of(archive))
        first = await pod.link()
        await first.send(0, bind)
        half, rest = archive[:10], archive[10:]
        await first.send(0, BundleChunk(data=half))

        async def said() -> tuple[str, str]:
            end = await pod.dial()
            hello = await end.hear(0, Hello)
            await end.close()
            return hello.bound, hello.binding

        for _ in range(100):  # until the agent has read it
            if (await said())[1]:
                break
        assert await said() == ("", "h1")
        await first.close()  # a gateway that dies in mid-bundle
        for _ in range(100):
            if not (await said())[1]:
                break
        assert await said() == ("", "")
        second = await pod.link()
        await second.send(0, bind)
        await second.send(0, BundleChunk(data=half))
        await second.send(0, BundleChunk(data=rest, last=True))
        assert (await second.hear(0, Bound)).error is None
        assert await said() == ("h1", "")


async def test_two_gateways_bind_at_once() -> None:
    async with agent() as pod:
        ends = [await pod.link() for _ in range(4)]
        archive = packed(story_py=GOOD)
        bounds = await asyncio.gather(*(end.bind(archive=archive, logic=logic_of(archive)) for end in ends))
        assert [bound.error for bound in bounds] == [None] * 4


async def test_a_bundle_of_many_chunks_beyond_the_window_loads() -> None:
    files = {"story.py": (GOOD + "import noise\n").encode(), "noise.py": b"", "noise.bin": os.urandom(6 << 20)}
    archive = bundle.compress(bundle.pack_files(files))
    async with agent() as pod:
        bound = await (await pod.link()).bind(archive=archive, logic=logic_of(archive))
        assert bound.error is None


LOOPS = "while True: pass"


@pytest.mark.parametrize(
    ("source", "entrypoint", "code", "where"),
    [
        pytest.param("x = 1\nraise ValueError('secret')", "", "logic_raised", "logic.py:2", id="raises"),
        pytest.param("def broken(:\n", "", "logic_raised", "logic.py:1", id="syntax"),
        pytest.param("import nothing_of_that_name", "", "logic_raised", "logic.py:1", id="missing-dependency"),
        pytest.param("import sys\nsys.exit(3)", "", "logic_raised", "logic.py:2", id="exits"),
        pytest.param("import os\nos._exit(3)", "", "logic_died", "", id="dies"),
        pytest.param(LOOPS, "", "import_deadline", "", id="loops"),
        pytest.param("x = 'y' * (1 << 40)", "", "logic_raised", "logic.py:1", id="too-much-memory"),
        pytest.param("x = 1", "", "entrypoint_not_found", "", id="no-role"),
        pytest.param(GOOD, "logic:dog", "entrypoint_not_found", "", id="no-such-object"),
        pytest.param(GOOD, "story:cat", "entrypoint_not_found", "", id="no-such-module"),
        pytest.param(GOOD + "x = 1", "logic:x", "not_a_role", "", id="not-a-role"),
        pytest.param(GOOD, "json:loads", "entrypoint_shadowed", "", id="the-platforms-own"),
        pytest.param(
            "from rolehost import Role\ncat = Role('cat', persona='You are a cat.')",
            "",
            "declared_twice",
            "logic.py:2",
            id="persona-twice",
        ),
    ],
)
async def test_logic_that_does_not_load_says_what_and_where(
    source: str, entrypoint: str, code: str, where: str
) -> None:
    async with agent(ROLEHOST_IMPORT_SECONDS="2" if source == LOOPS else "20") as pod:
        end = await pod.link()
        error = (await end.bind(logic=LogicSource(entrypoint=entrypoint, files={"logic.py": source}))).error
        assert error is not None
        assert (error.code, error.where) == (code, where)
        assert "secret" not in repr(error)
        assert await pod.get("/ready") == 503
        assert await pod.get("/live") == 200
        assert (await end.turn()).end == TurnFailed(code="not_bound")


def evil(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
        tar.addfile(info, io.BytesIO())
    return made.getvalue()


async def test_a_bad_bundle_leaves_the_pod_unbound_and_a_good_one_binds_it() -> None:
    async with agent() as pod:
        end = await pod.link()
        good = packed(story_py=GOOD)
        anything = "sha256:" + "0" * 64
        for archive, code in (
            (evil("../evil.py"), "bundle_path"),
            (evil("link.py", tarfile.SYMTYPE), "bundle_link"),
            (gzip.compress(bundle.pack_files({"a": bytes(20 << 20)})), "bundle_ratio"),
            (os.urandom(bundle.MAX_COMPRESSED + 1), "bundle_too_large"),
            (b"PK\x03\x04nothing", "bundle_malformed"),
            (good, "bundle_digest_mismatch"),
        ):
            error = (await end.bind(archive=archive, logic=logic_of(good, digest=anything))).error
            assert error is not None
            assert error.code == code
        missing = await end.bind(archive=good, logic=logic_of(good))
        assert missing.error is None


async def test_chunks_for_a_pod_that_is_bound_are_let_pass() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind()
        await end.send(0, BundleChunk(data=b"x"), BundleChunk(data=b"y", last=True))
        assert (await end.turn()).said == "<0>"


# ── logs, leaving ───────────────────────────────────────────────────────────────────

TALKS = """
import sys
from rolehost import Role, Turn
print("imported")
cat = Role("cat")

@cat.on_message
async def talk(t: Turn) -> None:
    print("out", t.message)
    print("err", t.message, file=sys.stderr)
    t.log("log " + t.message)
    if t.message == "raise":
        raise ValueError("for the tenant's eyes")
    if t.message == "flood":
        for number in range(20000):
            print("x" * 100, number)
    await t.reply("ok")
"""


async def lines(end: End, request: int, *, after: int = 0) -> list[tuple[str, str, str]]:
    await end.send(0, ReadLogs(request=request, after=after))
    found: list[tuple[str, str, str]] = []
    while batch := (await end.hear(0, LogBatch)).lines:
        found += ((line.stream, line.text, line.session) for line in batch)
    return found


async def test_what_the_logic_prints_goes_to_whichever_gateway_asks_with_the_clients_word_for_the_session() -> None:
    async with agent() as pod:
        end, other = await pod.link(), await pod.link()
        await end.bind(TALKS)
        await end.turn("hello", session="s7")
        own = await lines(end, 1)
        assert own[0] == ("stdout", "imported", "")
        assert sorted(own[1:]) == [
            ("log", "log hello", "s7"),
            ("stderr", "err hello", "s7"),
            ("stdout", "out hello", "s7"),
        ]
        assert await lines(other, 1) == own


async def test_tracebacks_are_the_tenants_and_begin_in_their_code() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind(TALKS)
        told = await end.turn("raise")
        assert isinstance(told.end, Commit)
        assert told.end.degraded[0].where == "logic.py:13"
        text = "\n".join(text for _, text, _ in await lines(end, 1))
        assert "ValueError: for the tenant's eyes" in text
        assert "guard.py" not in text


async def test_a_flood_is_bounded_and_the_loss_is_said() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind(TALKS)
        assert (await end.turn("flood")).said == "ok"
        await end.send(0, ReadLogs(request=1))
        first = await end.hear(0, LogBatch)
        assert first.lost > 10_000
        assert first.lines[0].number == first.lost + 1


async def test_following_gets_what_comes_until_it_is_stopped() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind(TALKS)
        await end.send(0, ReadLogs(request=5, after=1, follow=True))
        await end.turn("one")
        assert "out one" in {line.text for line in (await end.hear(0, LogBatch)).lines}
        await end.send(0, StopLogs(request=5))
        await end.turn("two")
        assert "out two" in {text for _, text, _ in await lines(end, 6)}


async def test_logs_off_keeps_nothing() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind(TALKS, logs=False)
        await end.turn("hello")
        assert await lines(end, 1) == []


async def test_sigterm_says_so_lets_open_turns_finish_and_leaves(capfd: pytest.CaptureFixture[str]) -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind()
        channel = await end.start()
        question = await end.hear(channel, CallModel)
        pod.process.send_signal(signal.SIGTERM)
        await end.hear(0, Draining)
        await end.send(channel, ModelResult(index=question.index, text="in time"))
        assert isinstance((await end.finish(channel)).end, Commit)
        await end.send(channel, Committed(version=1))
        assert await pod.process.wait() == 0
    assert "Traceback" not in capfd.readouterr().err


async def test_a_gateway_that_takes_nothing_keeps_no_other_from_hearing_of_the_end() -> None:
    """It gives no credit back, so what is meant for it waits in line; its turns could wait for ever."""
    async with agent(ROLEHOST_DRAIN_SECONDS="600") as pod:
        mean = await pod.link()
        await mean.bind(TALKS)
        mean._credits.worked = lambda size: 0  # type: ignore[method-assign]
        await mean.turn("flood")
        taken, request = 0, 0
        while taken < WINDOW - 1_000_000:
            request += 1
            taken += sum(len(text) + 64 for _, text, _ in await lines(mean, request))
        for more in range(1, 9):
            await mean.send(0, ReadLogs(request=request + more))
        end = await pod.link()
        channel = await end.start("one")
        pod.process.send_signal(signal.SIGTERM)
        await end.hear(0, Draining)
        assert isinstance((await end.finish(channel)).end, Commit)
        await end.send(channel, Committed(version=1))
        assert await pod.process.wait() == 0


async def test_an_agent_that_is_killed_takes_all_of_its_processes_along() -> None:
    async with agent() as pod:
        end = await pod.link()
        await end.bind(GOOD)
        below = descendants(pod.process.pid)
        assert len(below) >= 3
        pod.process.kill()
        await pod.process.wait()
        async with asyncio.timeout(10):
            while any(os.path.exists(f"/proc/{pid}") for pid in below):
                await asyncio.sleep(0.02)
