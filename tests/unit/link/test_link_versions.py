"""Both ends speak version N and N−1 of the link: real ends over memory, of which one is given a version of the future."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.support.identities import ROOT
from tests.support.rooms import ACME, Clock, Pipe, PodDialer, Shelves, pod_entry, put, world

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.attestation import attestation, fingerprint, namespace_key
from rolehost_api.link.messages import INTERRUPTED, PROTOCOLS, Bind, Bound, Hello, ModelResult, Probe, Prove, ToPod
from rolehost_runtime.gateway.link import pool as gateway_end
from rolehost_runtime.gateway.link.attest import attested
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.tables import PodEntry
from rolehost_runtime.sandbox import link as pod_end
from rolehost_runtime.sandbox.identity import Identity
from rolehost_runtime.sandbox.link import Link, Pod
from rolehost_runtime.sandbox.logs import LogRing
from rolehost_runtime.sandbox.states import States

CERTIFICATE = b"a certificate"
NOW, NEXT = PROTOCOLS, (PROTOCOLS[0] + 1, *PROTOCOLS)
"""What this code speaks, and what the release after it will: one more, and this one still."""
LATER = (PROTOCOLS[0] + 2, PROTOCOLS[0] + 1)
"""Two releases on: this one no more."""


class Bound1:
    """A binding that takes every revision at once."""

    hash = ""
    serving = None

    def answer(self, bind: Bind) -> Bound:
        return Bound(hash=bind.hash)


class RealPods:
    """Implements ports.Dialer: at the other end is the sandbox's own Link."""

    def __init__(self, key: PodDialer) -> None:
        self.key = key.key
        self.heard: list[Any] = []
        self.dialled = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, Any]:
        self.dialled += 1
        ours, theirs = asyncio.StreamReader(), asyncio.StreamReader()
        end = Link(self._pod(pod), ours, Pipe(ours, theirs))  # type: ignore[arg-type]
        prove = end._prove

        def heard(message: Any) -> None:
            self.heard.append(message)
            prove(message)

        end._prove = heard  # type: ignore[method-assign]
        self._tasks.add(asyncio.create_task(end.run()))
        reached = Pipe(theirs, ours)
        reached.certificate = CERTIFICATE
        return theirs, reached

    def attested(self, pod: PodEntry, writer: Any, hello: Hello) -> bytes:
        """As TlsDialer does."""
        return attested(ROOT, pod, writer.certificate, hello)

    def _pod(self, pod: PodEntry) -> Pod:
        known_by = fingerprint(CERTIFICATE)
        vouched = attestation(namespace_key(ROOT, pod.tenant.uid), pod.uid, known_by)
        return Pod(
            uid=pod.uid,
            identity=Identity(known_by, vouched, tls=None),
            keys=lambda: (self.key.public_key().public_bytes_raw(),),
            probe=Probe(gvisor=True, token=False, tried=("10.96.0.1:443",)),
            binding=Bound1(),  # type: ignore[arg-type]
            states=States(max_bytes=1024),
            logs=LogRing(),
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def shake(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[tuple[int, ...], tuple[int, ...]], Awaitable[tuple[LinkPool, RealPods]]]:
    """Puts a gateway and a pod that speak these versions in front of each other."""

    async def meet(gateway: tuple[int, ...], pod: tuple[int, ...]) -> tuple[LinkPool, RealPods]:
        monkeypatch.setattr(gateway_end, "PROTOCOLS", gateway)
        monkeypatch.setattr(pod_end, "PROTOCOLS", pod)
        tables, dialer = world(ACME), PodDialer()
        pods = RealPods(dialer)
        pool = LinkPool(tables, pods, Shelves(), dialer.key, Clock(), "gw", backoff_seconds=(0,))
        await pool.start()
        put(tables, pod_entry("p1"))
        return pool, pods

    return meet


async def until(true: Callable[[], bool]) -> None:
    """The test's own timeout ends what never is."""
    while not true():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("gateway", "pod", "spoken"),
    [
        pytest.param(NOW, NOW, NOW[0], id="today"),
        pytest.param(NEXT, NOW, NOW[0], id="new-gateway-old-pod"),
        pytest.param(NOW, NEXT, NOW[0], id="old-gateway-new-pod"),
        pytest.param(NEXT, NEXT, NEXT[0], id="both-new"),
        pytest.param(LATER, NEXT, NEXT[0], id="one-release-apart-again"),
    ],
)
async def test_the_newest_version_that_both_speak_is_spoken(
    shake: Any, gateway: tuple[int, ...], pod: tuple[int, ...], spoken: int
) -> None:
    pool, pods = await shake(gateway, pod)
    await until(lambda: any(report.loaded for report in pool._pod_reports()))
    [proof] = pods.heard
    assert isinstance(proof, Prove)
    assert proof.protocol == spoken
    await pool.stop()
    await pods.close()


@pytest.mark.parametrize(
    ("gateway", "pod"), [pytest.param(LATER, NOW, id="gateway-ahead"), pytest.param(NOW, LATER, id="pod-ahead")]
)
async def test_two_releases_apart_they_part_without_a_word(
    shake: Any, gateway: tuple[int, ...], pod: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pool, pods = await shake(gateway, pod)
    await until(lambda: pods.dialled > 1)
    assert pods.heard == []
    assert "link_version" in caplog.text
    assert not any(report.loaded for report in pool._pod_reports())
    await pool.stop()
    await pods.close()


def test_a_pod_takes_no_version_that_it_did_not_offer() -> None:
    end = Link.__new__(Link)
    with pytest.raises(ProtocolViolation, match="a protocol that both speak"):
        end._prove(Prove(protocol=NEXT[0], signature=bytes(64)))


class OldModelResult(msgspec.Struct, tag_field="t", tag="model_result"):
    """As a pod of the release before has it."""

    index: int
    text: str = ""
    error: str = ""
    finish_reason: str = ""


def test_an_interruption_is_a_failed_model_for_a_pod_of_the_release_before() -> None:
    told = ModelResult(index=2, text="Once", error=INTERRUPTED, finish_reason=INTERRUPTED, heard=4)
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=OldModelResult)
    assert (read.index, read.text, read.error) == (2, "Once", "interrupted")
    old = OldModelResult(index=2, text="Once upon", finish_reason="stop")
    new = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=ToPod)
    assert (new, new.heard) == (ModelResult(index=2, text="Once upon", finish_reason="stop"), None)


def test_a_field_of_the_future_is_read_past() -> None:
    raw = {"t": "hello", "protocols": [1], "nonce": bytes(32), "probe": {"gvisor": True, "token": False, "cpu": 4}}
    told = msgspec.msgpack.decode(msgspec.msgpack.encode({**raw, "colour": "blue"}), type=Hello)
    assert told.protocols == (1,)
