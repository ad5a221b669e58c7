"""Who may be taken for which pod: a law of keys, and nothing else decides it."""

import doctest
import hashlib
import hmac

from hypothesis import assume, given
from hypothesis import strategies as st

from rolehost_api.link import attestation as module
from rolehost_api.link.attestation import attestation, attests, fingerprint, namespace_key
from rolehost_api.link.messages import NONCE_BYTES, proof_text

UIDS = st.uuids().map(str) | st.text(st.characters(codec="utf-8"), max_size=40)
SECRETS = st.binary(min_size=32, max_size=64)
CLAIMS = st.tuples(SECRETS, UIDS, UIDS, st.binary(max_size=40))
"""Root, namespace's UID, pod's UID, certificate."""


def test_worked_examples_hold() -> None:
    tried = doctest.testmod(module)
    assert tried.attempted >= 5
    assert not tried.failed


def test_the_keys_are_plain_hmac_that_anybody_can_recompute() -> None:
    root, certificate = bytes(range(32)), b"der"
    key = hmac.new(root, b"rolehost namespace key 1\nns", hashlib.sha256).digest()
    assert namespace_key(root, "ns") == key
    expected = hmac.new(key, b"pod" + hashlib.sha256(certificate).digest(), hashlib.sha256).digest()
    assert attestation(key, "pod", fingerprint(certificate)) == expected


@given(CLAIMS, CLAIMS)
def test_an_attestation_fits_its_own_root_namespace_pod_and_certificate_alone(
    mine: tuple[bytes, str, str, bytes], theirs: tuple[bytes, str, str, bytes]
) -> None:
    root, namespace, pod, certificate = mine
    said = attestation(namespace_key(root, namespace), pod, fingerprint(certificate))
    assert attests(said, namespace_key(root, namespace), pod, fingerprint(certificate))
    assume(mine != theirs)
    # HMAC pads a short key with zeros, so a root and the same root with zeros after it are one key.
    assume(root.rstrip(b"\0") != theirs[0].rstrip(b"\0") or mine[1:] != theirs[1:])
    other, elsewhere, another, foreign = theirs
    assert not attests(said, namespace_key(other, elsewhere), another, fingerprint(foreign))


@given(st.binary(max_size=64))
def test_what_is_no_attestation_attests_nothing(said: bytes) -> None:
    assert not attests(said, namespace_key(bytes(32), "ns"), "pod", fingerprint(b"der"))


@given(
    *[st.tuples(st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES), UIDS, st.binary(min_size=32, max_size=32))] * 2
)
def test_no_two_links_are_proved_by_the_same_words(
    one: tuple[bytes, str, bytes], other: tuple[bytes, str, bytes]
) -> None:
    assert (proof_text(*one) == proof_text(*other)) == (one == other)
