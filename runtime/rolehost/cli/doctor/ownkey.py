"""A key of the doctor's own, for a run: whoever may write the keys' ConfigMap needs no other."""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from rolehost.cli.doctor.api import MERGE, Answer, Api, refusal
from rolehost.cli.doctor.clocks import seconds
from rolehost.cli.doctor.cluster import living
from rolehost.cli.doctor.finding import Seen
from rolehost_api.identity import new_key
from rolehost_api.names import KEYS

STALE_SECONDS = 120
DOCTOR = "doctor"
"""What a key says of who made it, so that a later run sweeps what a killed one left."""


class OwnKey:
    """A key of scope admin that lives as long as the run; its secret half is never written anywhere."""

    def __init__(self, api: Api, platform: str, tenants: "asyncio.Task[Seen]") -> None:
        self._api, self._tenants = api, tenants
        self._path = f"/api/v1/namespaces/{platform}/configmaps/{KEYS}"
        self._id = ""
        self._making: asyncio.Task[Answer] | None = None

    async def make(self) -> Seen:
        """The key, in the name of any tenant: it is not used for anything of theirs."""
        namespaces = await self._tenants
        items = living(namespaces)
        if namespaces.refused or not items:
            return namespaces if namespaces.refused else Seen(refused="there is no tenant yet whose key it could be")
        self._id, key, sha256 = new_key()
        entry = {
            "sha256": sha256,
            "tenant": items[0]["metadata"]["name"],
            "tenantUID": items[0]["metadata"]["uid"],
            "scopes": ["admin"],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": DOCTOR,
        }
        self._making = asyncio.create_task(self._patch({self._id: json.dumps(entry)}))
        answer = await asyncio.shield(self._making)
        return Seen(key) if answer.status == 200 else refusal(answer)

    async def clear(self) -> None:
        """Take it away, and what a killed run left. Never raises."""
        if self._making is None:
            return
        await asyncio.gather(self._making, return_exceptions=True)
        seen = await self._api.see(self._path)
        left = stale((seen.value or {}).get("data") or {}, time.time())
        await self._patch(dict.fromkeys({self._id, *left}))

    async def _patch(self, data: Mapping[str, str | None]) -> Answer:
        return await self._api.ask("PATCH", self._path, {"data": data}, MERGE)


def stale(data: Mapping[str, str], now: float) -> list[str]:
    """Ids of keys that earlier runs left behind.

    >>> stale({"a": '{"by": "doctor", "created": "2030-01-01T00:00:00+00:00"}', "b": '{"tenant": "acme"}', "c": "["},
    ...       now=1893456120.0)
    ['a']
    """
    found = []
    for key_id, text in data.items():
        with suppress(ValueError):
            entry = json.loads(text)
            made = seconds(str(entry.get("created", ""))) if entry.get("by") == DOCTOR else None
            if made is not None and now - made >= STALE_SECONDS:
                found.append(key_id)
    return found
