"""Who is speaking, and what their session is called inside.

A session id is a word that the client chose, so it never addresses anything by itself:
the key is a hash over the tenant's UID, the Role, the principal and that word.
"""

import base64
import hashlib
import re
import secrets

import msgspec

from rolehost_api.errors import BadRequest

_SESSION_ID = re.compile(r"[\x21-\x7e]{1,128}")
_USER_ID = _SESSION_ID
_ROLE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
KEY_PREFIX = "rh"


def session_id(raw: object) -> str:
    """`raw` if it may name a session: 1–128 printable ASCII characters, no space.

    Raises BadRequest `invalid_session_id`.
    """
    if isinstance(raw, str) and _SESSION_ID.fullmatch(raw):
        return raw
    raise BadRequest(
        "session_id must be 1 to 128 printable ASCII characters without spaces",
        hint="Use a UUID, or leave it out and take the one in session.created",
        code="invalid_session_id",
    )


def session_key(tenant_uid: str, role: str, principal: str, sid: str) -> str:
    """The session's key in Redis: 32 lower-case base32 characters.

    The Role's *name* is hashed, not its UID, so deleting and re-applying a Role keeps
    its sessions. Each part is framed by msgpack, so no two different lists of parts
    read the same.

    >>> session_key("u1", "cat", "svc:u1", "abc123") == session_key("u1", "cat", "svc:u1", "abc123")
    True
    >>> session_key("u1", "cat", "svc:u1", "abc123") == session_key("u2", "cat", "svc:u1", "abc123")
    False
    """
    packed = msgspec.msgpack.encode([tenant_uid, role, principal, sid])
    digest = hashlib.blake2b(packed, digest_size=20).digest()
    return base64.b32encode(digest).decode().lower()


def service_principal(tenant_uid: str) -> str:
    """All service keys of a tenant are one principal, so rotating a key loses no session."""
    return f"svc:{tenant_uid}"


def user_id(raw: object) -> str:
    """`raw` if it may name an end user of a tenant: 1–128 printable ASCII characters, no space.

    Raises BadRequest `invalid_user`.
    """
    if isinstance(raw, str) and _USER_ID.fullmatch(raw):
        return raw
    raise BadRequest(
        "user must be 1 to 128 printable ASCII characters without spaces",
        hint="Use the id that your own system knows them by, not their name",
        code="invalid_user",
    )


def user_principal(tenant_uid: str, user: str) -> str:
    """One end user, who came with a token of their own or is acted for by the tenant's server.

    >>> user_principal("u1", "u-17"), user_of("u1", "usr:u1:u-17"), user_of("u1", service_principal("u1"))
    ('usr:u1:u-17', 'u-17', '')
    """
    return f"usr:{tenant_uid}:{user}"


def user_of(tenant_uid: str, principal: str) -> str:
    """The end user that a principal of this tenant is; empty for its service keys."""
    prefix = user_principal(tenant_uid, "")
    return principal[len(prefix) :] if principal.startswith(prefix) else ""


def new_key() -> tuple[str, str, str]:
    """A fresh service key: (its public id, the key to hand out once, SHA-256 hex to keep)."""
    key_id = secrets.token_hex(4)
    key = f"{KEY_PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    return key_id, key, key_hash(key)


def key_hash(key: str) -> str:
    """SHA-256 of a key, hex: the only form in which it is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def role_name(raw: str) -> str:
    """The Role's name out of an address: case does not matter, `Storyteller` finds `storyteller`.

    Raises BadRequest `invalid_role_name`.
    """
    name = raw.lower()
    if _ROLE_NAME.fullmatch(name):
        return name
    raise BadRequest("a Role's name is made of letters, digits, '-' and '.'", code="invalid_role_name")
