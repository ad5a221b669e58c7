"""The route by which a tenant's server gets tokens for its end users."""

from typing import Annotated

import msgspec
from fastapi import FastAPI, Request
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response

from rolehost_api.errors import BadRequest, NotFound
from rolehost_runtime.gateway.edge.handshake import MAX_REVISION_CHARS, address, find_role
from rolehost_runtime.gateway.edge.rooms import Json, Rooms
from rolehost_runtime.gateway.edge.tokens import MAX_TTL_S
from rolehost_runtime.gateway.edge.views import answers, takes
from rolehost_runtime.gateway.sessions.revisions import find
from rolehost_runtime.gateway.tables import Scope


class TokenRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A misspelt field is refused: a token for all Roles where one was meant would not be noticed."""

    user: str
    """The end user: 1 to 128 printable ASCII characters without spaces."""
    role: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    """The one Role that the token is for; left out, all of the tenant's."""
    revision: Annotated[str, Meta(min_length=1, max_length=MAX_REVISION_CHARS)] | None = None
    """A revision of that Role, for a tester: sessions are on it whatever everybody else gets, and are not compared."""
    ttl_s: Annotated[int, Meta(ge=1, le=MAX_TTL_S)] = MAX_TTL_S
    """For so many seconds."""


class TokenAnswer(Struct, frozen=True, kw_only=True):
    token: str
    user: str
    role: str | None
    expires_ms: int
    """Milliseconds since 1970, UTC."""
    revision: str | UnsetType = UNSET
    """`r3`, for a tester's; left out: sessions are on what everybody gets."""


TYPES = (TokenRequest, TokenAnswer)
"""For OpenAPI."""
_request = msgspec.json.Decoder(TokenRequest)


def routes(app: FastAPI, rooms: Rooms) -> None:
    @app.post("/v1/tokens", responses=answers(TokenAnswer), openapi_extra=takes(TokenRequest), response_class=Json)
    async def mint_token(request: Request) -> Response:
        """A token for one end user of yours: for a key with scope `act-as-user`.

        Whoever holds it talks to that Role as that user, and reads that user's sessions, until it expires or your
        key is revoked; nothing else. It is stored nowhere and cannot be taken back by itself.
        """
        issuer = rooms.caller(request, Scope.ACT_AS_USER)
        if rooms.auth.tokens is None:
            raise NotFound("this gateway issues no tokens", code="no_tokens")
        asked = _read(await request.body())
        role = entry = None
        if asked.role is not None:
            at = address(asked.role)
            if at.revision:
                raise BadRequest("a token is for a Role, not for a revision", code="invalid_role_name")
            entry = find_role(rooms.gate.tables.roles, issuer, at)
            role = entry.name
        sequence = 0
        if asked.revision is not None:
            if entry is None:
                raise BadRequest("a revision is one of a Role: name it", code="invalid_request")
            sequence = find(rooms.gate.tables, entry, asked.revision).spec.sequence
        minted = rooms.auth.tokens.mint(issuer, role or "", asked.user, asked.ttl_s, sequence)
        answer = Json(
            TokenAnswer(
                token=minted.token,
                user=asked.user,
                role=role,
                revision=f"r{sequence}" if sequence else UNSET,
                expires_ms=minted.expires_ms,
            )
        )
        answer.headers["cache-control"] = "no-store"
        return answer


def _read(body: bytes) -> TokenRequest:
    try:
        return _request.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the request is not valid: {error}", code="invalid_request") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "the request is not valid JSON", hint='Send e.g. {"user": "u-17", "role": "storyteller"}',
            code="malformed_json",
        ) from None  # fmt: skip
