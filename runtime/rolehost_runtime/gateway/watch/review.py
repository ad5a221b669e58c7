"""Whose token is this? Asked of the apiserver, for our audience only."""

import aiohttp
import msgspec
from msgspec import Struct

from rolehost_api.errors import Unavailable
from rolehost_api.names import OBSERVED_AUDIENCE
from rolehost_runtime.gateway.watch.api import Api, whole

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
MAX_ANSWER_BYTES = 65_536


class _User(Struct, frozen=True):
    username: str = ""


class _Status(Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: tuple[str, ...] = ()


class _Review(Struct, frozen=True):
    status: _Status = _Status()


class TokenReview:
    """Implements edge.internal.Reviewer."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def user_of(self, token: str) -> str | None:
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [OBSERVED_AUDIENCE]},
        }
        try:
            async with self._api.post(PATH, msgspec.json.encode(asked)) as answer:
                body = await whole(answer, MAX_ANSWER_BYTES)
                if answer.status not in (200, 201):
                    raise Unavailable("tokens cannot be checked now", code="token_review_unavailable")
            status = msgspec.json.decode(body, type=_Review).status
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
            raise Unavailable("tokens cannot be checked now", code="token_review_unavailable") from None
        return status.user.username if status.authenticated and OBSERVED_AUDIENCE in status.audiences else None
