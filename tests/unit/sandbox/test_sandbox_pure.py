"""The sandbox's decisions that need no process: states, logs, strays, settings, frames."""

import base64
import doctest
from pathlib import Path
from types import ModuleType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.support.identities import ROOT, make_identity

from rolehost_api import bundle
from rolehost_api.errors import BadRequest, ProtocolViolation
from rolehost_api.link import credit
from rolehost_api.link.attestation import attests, namespace_key
from rolehost_runtime.core import patch
from rolehost_runtime.sandbox import certificate, identity, keys, logs, procs, quarantine, seccomp, settings, states
from rolehost_runtime.sandbox.logs import LineSplitter, LogRing
from rolehost_runtime.sandbox.states import States
from rolehost_runtime.sandbox.steps import Drop, Frames, FromWorker, Stepped, ToWorker, pack

KEY = "A" * 43 + "="


@pytest.mark.parametrize(
    "module",
    [bundle, credit, patch, states, logs, procs, keys, certificate, quarantine, seccomp],
    ids=lambda module: module.__name__,
)
def test_worked_examples_hold(module: ModuleType) -> None:
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed


# ── states ──────────────────────────────────────────────────────────────────────────

sessions = st.tuples(st.integers(0, 3), st.sampled_from("abcdef"))


@given(st.lists(st.tuples(sessions, st.integers(0, 5), st.integers(0, 40))))
def test_states_are_bounded_and_whoever_is_let_go_is_told(puts: list[tuple[tuple[int, str], int, int]]) -> None:
    held = States(max_sessions=4, max_bytes=100)
    expected: dict[tuple[int, str], tuple[int, bytes]] = {}
    for key, version, size in puts:
        expected[key] = (version, bytes(size))
        for gone in held.put(key, version, bytes(size)):
            del expected[gone]  # type: ignore[arg-type]
        assert len(expected) <= 4
        assert sum(len(state) for _, state in expected.values()) <= 100
        assert all(held.get(key, version) == state for key, (version, state) in expected.items())


def test_the_states_of_a_link_go_with_it() -> None:
    held = States()
    held.put((1, "a"), 1, b"x")
    held.put((2, "a"), 1, b"y")
    held.drop_link(1)
    assert held.get((1, "a"), 1) is None
    assert held.get((2, "a"), 1) == b"y"


# ── logs ────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.text(max_size=20), max_size=60), st.integers(0, 70), st.integers(1, 9))
def test_reading_on_gives_every_line_once_or_says_that_it_is_lost(texts: list[str], after: int, limit: int) -> None:
    ring = LogRing(max_bytes=1000)
    for text in texts:
        ring.add("stdout", text, 0)
    told = after
    while True:
        lines, lost = ring.read(after=told, limit=limit)
        if not lines:
            break
        assert lines[0].number == told + lost + 1
        assert [line.text for line in lines] == texts[lines[0].number - 1 : lines[-1].number]
        told = lines[-1].number
    assert told == max(after, len(texts))


@given(st.lists(st.binary(max_size=30)))
def test_lines_do_not_depend_on_how_the_bytes_were_cut(parts: list[bytes]) -> None:
    cut, whole = LineSplitter(), LineSplitter()
    in_parts = [line for part in parts for line in cut.feed(part)] + cut.end()
    assert in_parts == whole.feed(b"".join(parts)) + whole.end()


def test_a_line_without_an_end_does_not_grow() -> None:
    splitter = LineSplitter()
    (line,) = splitter.feed(b"x" * 100_000)
    assert len(line) == logs.MAX_LINE
    assert splitter.end() == []


# ── strays ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param({10: 1, 20: 10, 21: 20}, set(), id="a-living-workers-children-are-its-own"),
        pytest.param({10: 1, 30: 10, 31: 30, 32: 31}, {30, 31, 32}, id="a-dead-workers-whole-tree"),
        pytest.param({10: 1, 20: 10, 40: 10}, {40}, id="an-orphan-that-was-adopted"),
        pytest.param({10: 1, 11: 1, 12: 11}, set(), id="others-are-none-of-ours"),
        pytest.param({10: 1, 50: 51, 51: 50}, set(), id="a-circle-read-while-pids-were-reused"),
    ],
)
def test_strays(table: dict[int, int], expected: set[int]) -> None:
    assert procs.strays(table, 10, {20}) == expected


# ── settings ────────────────────────────────────────────────────────────────────────


def test_settings_are_read() -> None:
    read = settings.read(
        {
            "ROLEHOST_POD_UID": "u",
            "ROLEHOST_PLATFORM_KEYS": f"{KEY}, {KEY}",
            "ROLEHOST_PROBE_TARGETS": "10.0.0.1:443,[fd00::1]:53",
            "ROLEHOST_WORKER_MEMORY_MIB": "64",
            "ROLEHOST_STATES_MIB": "12",
        }
    )
    assert read.platform_keys() == (bytes(32), bytes(32))
    assert read.identity is None
    assert read.probe_targets == ("10.0.0.1:443", "[fd00::1]:53")
    assert read.memory_bytes == 64 << 20
    assert read.states_bytes == 12 << 20


def key_file(folder: Path, *keys: bytes) -> None:
    (folder / "keys").write_text("\n".join(base64.b64encode(key).decode() for key in keys))


def test_mounted_keys_are_read_anew_each_time(tmp_path: Path) -> None:
    given = {
        "ROLEHOST_POD_UID": "u",
        "ROLEHOST_PLATFORM_KEYS_DIR": str(tmp_path),
        "ROLEHOST_IDENTITY_DIR": "/etc/rolehost/identity",
    }
    read = settings.read(given)
    assert read.identity == Path("/etc/rolehost/identity")
    with pytest.raises(OSError, match="keys"):
        read.platform_keys()
    one, other = bytes(32), bytes(range(32))
    key_file(tmp_path, one)
    assert read.platform_keys() == (one,)
    key_file(tmp_path, one, other)
    assert read.platform_keys() == (one, other)
    for nonsense in ("", "\n", "not base64", "AAAA", "\xff" * 8, f"{KEY} " * 9):
        (tmp_path / "keys").write_text(nonsense)
        with pytest.raises(BadRequest, match="keys"):
            read.platform_keys()


def test_who_listens_without_an_identity_is_told_so() -> None:
    with pytest.raises(BadRequest, match="ROLEHOST_IDENTITY_DIR"):
        identity.of(settings.read({"ROLEHOST_POD_UID": "u", "ROLEHOST_PLATFORM_KEYS": KEY}))


@pytest.mark.parametrize("missing", ["key.pem", "cert.pem", "attestation", None])
def test_an_identity_is_whole_or_none(tmp_path: Path, missing: str | None) -> None:
    folder = make_identity(tmp_path, "ns", "pod")
    mine = identity.read(folder)
    assert attests(mine.attestation, namespace_key(ROOT, "ns"), "pod", mine.fingerprint)
    for name in ("key.pem", "cert.pem", "attestation"):
        (folder / name).write_text("nothing")
        with pytest.raises(BadRequest, match="no identity"):
            identity.read(folder)
        make_identity(tmp_path, "ns", "pod")
    if missing is not None:
        (folder / missing).unlink()
        with pytest.raises(BadRequest) as raised:
            identity.read(folder)
        assert raised.value.code == "no_identity"


def test_a_certificate_made_by_hand_is_one_and_its_key_fits(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    made = x509.load_der_x509_certificate(certificate.self_signed(key))
    assert made.public_key() == key.public_key()
    key.public_key().verify(made.signature, made.tbs_certificate_bytes)
    assert (made.version, made.issuer) == (x509.Version.v3, made.subject)
    assert made.not_valid_before_utc.year == 2000
    assert made.not_valid_after_utc.year == 9999
    pem = certificate.pem("PRIVATE KEY", certificate.private_key(key))
    loaded = serialization.load_pem_private_key(pem, None)
    assert isinstance(loaded, Ed25519PrivateKey)
    assert loaded.private_bytes_raw() == key.private_bytes_raw()
    assert certificate.self_signed(Ed25519PrivateKey.generate()) != certificate.self_signed(key)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROLEHOST_POD_UID", ""),
        ("ROLEHOST_PLATFORM_KEYS", ""),
        ("ROLEHOST_PLATFORM_KEYS", "not base64"),
        ("ROLEHOST_PLATFORM_KEYS", "AAAA"),
        ("ROLEHOST_PROBE_TARGETS", "10.0.0.1"),
        ("ROLEHOST_PROBE_TARGETS", "10.0.0.1:99999"),
        ("ROLEHOST_WORKER_MEMORY_MIB", "0"),
        ("ROLEHOST_WORKER_MEMORY_MIB", "-5"),
        ("ROLEHOST_DRAIN_SECONDS", "soon"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    good = {"ROLEHOST_POD_UID": "u", "ROLEHOST_PLATFORM_KEYS": KEY}
    with pytest.raises(BadRequest, match=name):
        settings.read(good | {name: value})


# ── frames between processes ────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 2**40), max_size=5), st.integers(1, 20))
def test_frames_come_whole_however_they_are_cut(turns: list[int], cut: int) -> None:
    stream = b"".join(pack(Drop(turn=turn)) for turn in turns)
    frames: Frames[Drop] = Frames(ToWorker)
    found = [said.turn for at in range(0, len(stream), cut) for said in frames.feed(stream[at : at + cut])]
    assert found == turns


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"\xff" * 8, id="too-long"),
        pytest.param(b"\x00\x00\x00\x01\xc1", id="no-msgpack"),
        pytest.param(pack(Drop(turn=1)), id="what-only-the-agent-may-say"),
    ],
)
def test_what_a_worker_may_not_say_is_a_violation(noise: bytes) -> None:
    frames: Frames[Stepped] = Frames(FromWorker, 1000)
    with pytest.raises(ProtocolViolation):
        list(frames.feed(noise))
