"""End users' tokens: signed by the platform, stored nowhere, good for one user, for an hour at most. Pure.

    rht_<claims>.<tag>      claims: base64url of msgpack; tag: base64url of HMAC-SHA256 over the text of the claims

The key is made of the platform's root secret with a word of its own, so every gateway has it and it signs nothing
else. There is nothing to choose in a token, no algorithm, no key id and no header, and nobody but a gateway reads
it: what JWT has beyond this would only have to be refused. The tag is compared before a byte of the claims is
decoded, as text, so a token has one spelling.
"""

import base64
import hmac

import msgspec
from msgspec import Struct

from rolehost_api.errors import Unauthorized

PREFIX = "rht_"
MAX_CHARS = 1024
"""The longest names that there may be take 700."""
MAX_TTL_S = 3_600
LEEWAY_MS = 30_000
"""By how much the clocks of two gateways may differ."""
_WORD = b"rolehost user token 1\n"
_ANOTHER = "Ask your server for another token"


class Claims(Struct, frozen=True, array_like=True):
    """What a token says."""

    issuer: bytes
    """SHA-256 of the key that issued it; empty where there are no keys (local mode)."""
    tenant_uid: str
    role: str
    """Name of the one Role that it is for; empty: all of the tenant's."""
    user: str
    issued_ms: int
    expires_ms: int
    sequence: int = 0
    """Of the one revision of that Role that its sessions are on, whatever everybody else gets; 0: like everybody."""

    @property
    def until_ms(self) -> int:
        """When it is not accepted any more, by any gateway's clock."""
        return self.expires_ms + LEEWAY_MS


_claims = msgspec.msgpack.Decoder(Claims)


def signing_key(root: bytes) -> bytes:
    """The key that signs tokens, 32 bytes, out of the platform's root secret.

    >>> signing_key(bytes(32)).hex()
    'dac95e23418f0073af87056d4789828d43b097af23b213b6b73ddd698605ef2c'
    """
    return hmac.digest(root, _WORD, "sha256")


def signed(key: bytes, claims: Claims) -> str:
    """The token that says so.

    >>> signed(bytes(32), Claims(b"", "u1", "cat", "u-17", 0, 3_600_000))
    'rht_l8QAonUxo2NhdKR1LTE3AM4ANu6AAA.0UJfq8gHGJk81DQyRHDNdEGFdIwQPuszOaFlebmZ6Qs'
    """
    said = _text(msgspec.msgpack.encode(claims))
    return f"{PREFIX}{said}.{_tag(key, said)}"


def verified(key: bytes, token: str, now_ms: int) -> Claims:
    """What the token says, if it is the platform's and it is its time.

    Raises Unauthorized `token_invalid`, `token_expired` or `token_not_yet_valid`.
    """
    said, _, tag = token.removeprefix(PREFIX).partition(".")
    ours = token.startswith(PREFIX) and token.isascii() and len(token) <= MAX_CHARS
    if not ours or not hmac.compare_digest(tag, _tag(key, said)):
        raise Unauthorized("the token is not one of this platform's", hint=_ANOTHER, code="token_invalid")
    try:
        claims = _claims.decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
    except (ValueError, msgspec.MsgspecError):  # we signed what an older or newer gateway cannot read
        raise Unauthorized("the token is not understood here", hint=_ANOTHER, code="token_invalid") from None
    if now_ms >= claims.until_ms:
        raise expired()
    if now_ms < claims.issued_ms - LEEWAY_MS:
        raise Unauthorized(
            "the token is of a later time", hint="Check the gateways' clocks", code="token_not_yet_valid"
        )
    return claims


def expired() -> Unauthorized:
    """Told at the door, and to whoever is inside when their time is over."""
    return Unauthorized("the token has expired", hint=_ANOTHER, code="token_expired")


def _tag(key: bytes, said: str) -> str:
    return _text(hmac.digest(key, said.encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
