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
    """The session's key in Redis: 32 lower-case base32 characters; an end user's after a tag of theirs and a colon.

    What has the same tag lies together in Redis, so that one step writes a session and what its user shares over all
    their sessions with the Role. A session of nobody in particular is its own tag.

    The Role's *name* is hashed, not its UID, so deleting and re-applying a Role keeps
    its sessions. Each part is framed by msgpack, so no two different lists of parts
    read the same.

    >>> session_key("u1", "cat", "svc:u1", "abc123") == session_key("u1", "cat", "svc:u1", "abc123")
    True
    >>> session_key("u1", "cat", "svc:u1", "abc123") == session_key("u2", "cat", "svc:u1", "abc123")
    False
    """
    key, user = _hashed([tenant_uid, role, principal, sid]), user_of(tenant_uid, principal)
    return f"{user_tag(tenant_uid, role, user)}:{key}" if user else key


def user_tag(tenant_uid: str, role: str, user: str) -> str:
    """What the sessions of one end user with one Role have in common in Redis.

    >>> user_tag("u1", "cat", "u-17") == tag_of(session_key("u1", "cat", "usr:u1:u-17", "abc123"))
    True
    """
    return _hashed([tenant_uid, role, user])


def tag_of(key: str) -> str:
    """The part of a session's key that decides where it lies.

    >>> tag_of("aaaa:bbbb"), tag_of("bbbb")
    ('aaaa', 'bbbb')
    """
    return key.partition(":")[0]


def session_of(key: str) -> str:
    """A session's key without its tag.

    >>> session_of("aaaa:bbbb"), session_of("bbbb")
    ('bbbb', 'bbbb')
    """
    return key.rpartition(":")[2]


def _hashed(parts: list[str]) -> str:
    return base64.b32encode(hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=20).digest()).decode().lower()


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
