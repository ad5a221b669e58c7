"""The header by which the upload service knows a gateway, and for whom it asks."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from rolehost_api.errors import BadRequest, Unauthorized
from rolehost_runtime.gateway.upload.signing import (
    LinkKey,
    MountedKeys,
    private_key,
    public_keys,
    signed,
    verified,
)

KEY, NEXT = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = [NEXT.public_key(), KEY.public_key()]
NOW = 1_730_000_000
PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_a_signed_header_says_for_whom() -> None:
    assert verified(KEYS, signed(KEY, "uid-1", "PUT", "/x", NOW), "PUT", "/x", NOW + 59) == "uid-1"


@pytest.mark.parametrize(
    ("header", "method", "path", "now"),
    [
        pytest.param(signed(KEY, "uid-1", "PUT", "/x", NOW), "GET", "/x", NOW, id="another-method"),
        pytest.param(signed(KEY, "uid-1", "PUT", "/x", NOW), "PUT", "/y", NOW, id="another-path"),
        pytest.param(signed(KEY, "uid-1", "PUT", "/x", NOW), "PUT", "/x", NOW + 61, id="expired"),
        pytest.param(signed(KEY, "uid-1", "PUT", "/x", NOW + 3600), "PUT", "/x", NOW, id="from-the-future"),
        pytest.param(signed(Ed25519PrivateKey.generate(), "uid-1", "PUT", "/x", NOW), "PUT", "/x", NOW, id="foreign-key"),
        pytest.param(signed(KEY, "uid-1", "PUT", "/x", NOW).replace("uid-1", "uid-2"), "PUT", "/x", NOW, id="other-tenant"),
        pytest.param(signed(KEY, "../evil", "PUT", "/x", NOW), "PUT", "/x", NOW, id="a-path-for-a-tenant"),
        pytest.param("", "PUT", "/x", NOW, id="none"),
        pytest.param("a.b.c", "PUT", "/x", NOW, id="nonsense"),
        pytest.param("uid-1.9.é", "PUT", "/x", NOW, id="no-base64"),
    ],
)  # fmt: skip
def test_anything_else_is_not_a_gateway(header: str, method: str, path: str, now: int) -> None:
    with pytest.raises(Unauthorized):
        verified(KEYS, header, method, path, now)


def certificate(key: Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rolehost-link")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return built.sign(key, None).public_bytes(serialization.Encoding.PEM)


def test_public_keys_come_out_of_certificates_and_bare(tmp_path: Path) -> None:
    bare = NEXT.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "cert.pem").write_bytes(certificate(KEY))
    (tmp_path / "next.pem").write_bytes(bare)
    (tmp_path / "readme").write_text("no key")
    header = signed(KEY, "uid-1", "PUT", "/x", NOW)
    found = public_keys(tmp_path)
    assert len(found) == 2
    assert verified(found, header, "PUT", "/x", NOW) == "uid-1"


def test_a_folder_without_a_key_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ec.pem").write_bytes(
        generate_private_key(SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(BadRequest, match="rolehost-link-public"):
        public_keys(tmp_path)


def test_the_private_key_must_be_one(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.private_bytes(*PEM))
    assert private_key(path).public_key() == KEY.public_key()
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(*PEM))
    with pytest.raises(BadRequest, match="no Ed25519 private key"):
        private_key(path)
    with pytest.raises(BadRequest):
        private_key(tmp_path / "missing")


def replaced(path: Path, content: bytes) -> None:
    """As a mounted Secret or ConfigMap changes."""
    path.with_name("..new").write_bytes(content)
    path.with_name("..new").replace(path)


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_a_replaced_link_key_signs_from_then_on_and_nonsense_in_its_place_does_not(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.private_bytes(*PEM))
    signer = LinkKey(path)
    KEY.public_key().verify(signer.sign(b"one"), b"one")
    replaced(path, NEXT.private_bytes(*PEM))
    NEXT.public_key().verify(signer.sign(b"two"), b"two")
    replaced(path, b"half a k")
    NEXT.public_key().verify(signer.sign(b"three"), b"three")
    path.unlink()
    NEXT.public_key().verify(signer.sign(b"four"), b"four")
    replaced(path, KEY.private_bytes(*PEM))
    KEY.public_key().verify(signer.sign(b"five"), b"five")
    with pytest.raises(BadRequest, match="no Ed25519 private key"):
        LinkKey(tmp_path / "missing")


def test_mounted_keys_are_those_of_now_or_the_last_that_there_were(tmp_path: Path) -> None:
    header = signed(NEXT, "uid-1", "PUT", "/x", NOW)
    (tmp_path / "current.pem").write_bytes(public_pem(KEY))
    keys = MountedKeys(tmp_path)
    with pytest.raises(Unauthorized):
        verified(keys, header, "PUT", "/x", NOW)
    (tmp_path / "next.pem").write_bytes(public_pem(NEXT))
    assert verified(keys, header, "PUT", "/x", NOW) == "uid-1"
    for file in tmp_path.iterdir():
        file.unlink()
    assert verified(keys, header, "PUT", "/x", NOW) == "uid-1"
    (tmp_path / "current.pem").write_bytes(public_pem(KEY))
    with pytest.raises(Unauthorized):
        verified(keys, header, "PUT", "/x", NOW)
    with pytest.raises(BadRequest):
        MountedKeys(tmp_path / "missing")


def test_mounted_keys_verify_what_any_of_them_signed(tmp_path: Path) -> None:
    """What the key before this one signed is good for as long as its public key is mounted."""
    (tmp_path / "current.pem").write_bytes(public_pem(NEXT))
    keys = MountedKeys(tmp_path)
    keys.verify(NEXT.sign(b"rows"), b"rows")
    with pytest.raises(InvalidSignature):
        keys.verify(KEY.sign(b"rows"), b"rows")
    (tmp_path / "former.pem").write_bytes(public_pem(KEY))
    keys.verify(KEY.sign(b"rows"), b"rows")
    with pytest.raises(InvalidSignature):
        keys.verify(KEY.sign(b"rows"), b"others")


def test_the_signature_is_url_safe_and_the_header_one_word() -> None:
    *_, encoded = signed(KEY, "uid-1", "PUT", "/x", NOW).split(".")
    assert len(base64.urlsafe_b64decode(encoded)) == 64
