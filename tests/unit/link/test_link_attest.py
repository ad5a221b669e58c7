"""A gateway says nothing at all to a listener before that is known to be the pod it means."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.identities import ROOT
from tests.support.rooms import (
    ACME,
    EVIL,
    HELLO,
    Clock,
    Pipe,
    PodDialer,
    Shelves,
    pod_entry,
    put,
    world,
)
from tests.unit.link.test_link_fuzz import FRAMES

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.attestation import attestation, fingerprint, namespace_key
from rolehost_api.link.credit import Credits
from rolehost_api.link.framing import WINDOW, Decoder, encode
from rolehost_api.link.messages import Bind, Credit, Draining, Probe, Prove, ToPod
from rolehost_runtime.gateway.link.attest import NotAttested, attested
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.pool import LinkPool

MINE = fingerprint(b"a certificate")


def said_by(namespace_uid: str, pod_uid: str, of: bytes = MINE, root: bytes = ROOT) -> bytes:
    return attestation(namespace_key(root, namespace_uid), pod_uid, of)


STRANGERS = [
    pytest.param({"attestation": said_by(ACME.uid, "p2")}, id="another-pod-of-the-same-tenant"),
    pytest.param({"attestation": said_by(EVIL.uid, "p1")}, id="another-namespaces-key"),
    pytest.param({"attestation": said_by(EVIL.uid, "p2")}, id="another-tenants-pod"),
    pytest.param({"attestation": said_by(ACME.uid, "p1", root=b"x" * 32)}, id="another-platforms-root"),
    pytest.param({"certificate": b"my own", "attestation": said_by(ACME.uid, "p1")}, id="its-hello-replayed"),
    pytest.param({"certificate": None, "attestation": said_by(ACME.uid, "p1")}, id="no-certificate"),
    pytest.param({"certificate": None, "attestation": said_by(ACME.uid, "p1", bytes(32))}, id="as-in-local-mode"),
    pytest.param({"attestation": b""}, id="no-attestation"),
    pytest.param({"attestation": bytes(32)}, id="zeros"),
    pytest.param({"attestation": said_by(ACME.uid, "p1")[:-1]}, id="too-short"),
]


class Bench:
    def __init__(self) -> None:
        self.tables, self.dialer, self.clock = world(ACME, EVIL), PodDialer(), Clock()
        key = self.dialer.key
        self.pool = LinkPool(self.tables, self.dialer, Shelves(), key, self.clock, "gw", backoff_seconds=(0,))

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0)

    def report(self) -> Any:
        (one,) = self.pool._pod_reports()
        return one


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.pool.start()
    yield made
    await made.pool.stop()


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_stranger_hears_not_one_byte_and_is_tried_again(
    bench: Bench, stranger: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pod = bench.dialer.add("p1", **stranger)
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: pod.dialled >= 3)
    assert pod.heard == 0
    assert bench.report().error.code == "pod_not_attested"
    assert (bench.report().loaded, bench.report().probe) == (False, None)
    assert "pod_not_attested" in caplog.text
    for secret in (namespace_key(ROOT, ACME.uid), said_by(ACME.uid, "p1"), ROOT):
        assert secret.hex() not in caplog.text + repr(bench.report())


async def test_it_heals_when_the_real_pod_is_found_and_nothing_of_the_stranger_stays(bench: Bench) -> None:
    leaking = Probe(gvisor=False, token=True, kernel="Linux version 1.0")
    stranger = bench.dialer.add("p1", attestation=b"", hello=replace(HELLO, probe=leaking))
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: bench.report().error is not None)
    good = bench.dialer.add("p1")  # at the address that a newer row has
    put(bench.tables, changed(pod_entry("p1"), address="10.0.0.9:1"))
    await bench.until(lambda: bench.report().loaded)
    assert bench.report().error is None
    assert bench.report().probe == HELLO.probe, "the stranger's probe was not taken for the pod's"
    assert (stranger.heard, bool(good.heard)) == (0, True)


async def test_a_pod_whose_address_a_stranger_took_is_not_loaded_any_more(bench: Bench) -> None:
    pod = bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: bench.report().loaded)
    stranger = bench.dialer.add("p1", attestation=said_by(EVIL.uid, "p9"))
    pod.lose()
    await bench.until(lambda: stranger.dialled >= 2)
    assert (bench.report().loaded, stranger.heard) == (False, 0)


async def test_the_proof_names_the_certificate_so_that_nobody_in_between_can_use_it(bench: Bench) -> None:
    pod = bench.dialer.add("p1", certificate=b"the pod's own")
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: bench.report().loaded)
    assert isinstance(pod.told[0][1], Prove)
    # FakePod checks the signature over its own fingerprint, and hangs up where it does not fit.
    assert any(isinstance(message, Bind) for _, message in pod.told)


@given(st.lists(FRAMES, max_size=12))
def test_whatever_a_stranger_says_it_is_not_answered(frames: list[bytes]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.pool.start()
        pod = bench.dialer.add("p1", attestation=b"")
        put(bench.tables, pod_entry("p1"))
        await bench.until(lambda: pod.pipe is not None)
        for frame in frames:
            if pod.pipe is not None:
                pod.pipe.write(frame)
            await asyncio.sleep(0)
        await bench.until(lambda: pod.dialled >= 2)
        await bench.pool.stop()
        assert pod.heard == 0

    asyncio.run(main())


# ── a link is silent until it is told to speak ──────────────────────────────────────


def silent_link() -> tuple[Link, asyncio.StreamReader, Pipe]:
    theirs, ours = asyncio.StreamReader(), asyncio.StreamReader()
    writer: Any = Pipe(ours, theirs)
    return Link(pod_entry("p1"), ours, writer, Clock()), theirs, Pipe(theirs, ours)


async def test_credit_that_is_due_before_the_pod_is_known_is_given_after() -> None:
    link, theirs, pod = silent_link()
    reading = asyncio.create_task(link.run())
    flood = encode(0, Draining())
    rounds = WINDOW // 4 // (len(flood) - 9) + 1
    pod.write(encode(0, HELLO) + flood * rounds)
    await link.hello
    while link.bytes_in < rounds * len(flood):
        await asyncio.sleep(0)
    for _ in range(1000):  # what is decoded a quantum at a time is worked off
        await asyncio.sleep(0)
    assert theirs._buffer == b""  # type: ignore[attr-defined]
    link.speak()
    [(channel, grant, _)] = Decoder[ToPod](ToPod).feed(bytes(theirs._buffer))  # type: ignore[attr-defined]
    assert channel == 0
    assert isinstance(grant, Credit)
    book = Credits()
    assert book.sent(grant.bytes)
    book.granted(grant.bytes)  # no more than was used
    link.close()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_link_that_would_speak_too_early_is_a_bug_and_not_a_leak() -> None:
    link, theirs, _ = silent_link()
    with pytest.raises(RuntimeError, match="before its pod was attested"):
        link.send(0, Prove(protocol=1, signature=bytes(64)))
    assert theirs._buffer == b""  # type: ignore[attr-defined]
    link.close()


# ── the rule itself ─────────────────────────────────────────────────────────────────


def test_the_fingerprint_is_given_for_the_proof() -> None:
    hello = replace(HELLO, attestation=said_by(ACME.uid, "p1"))
    assert attested(ROOT, pod_entry("p1"), b"a certificate", hello) == MINE


def test_a_refusal_has_a_stable_code_and_says_what_to_do() -> None:
    with pytest.raises(NotAttested) as raised:
        attested(ROOT, pod_entry("p1", EVIL), b"a certificate", replace(HELLO, attestation=said_by(ACME.uid, "p1")))
    fault = raised.value.fault
    assert (fault.code, raised.value.retryable) == ("pod_not_attested", True)
    assert "delete the pod" in fault.hint
    assert len(fault.hint) <= 256
    assert not isinstance(raised.value, ProtocolViolation)
