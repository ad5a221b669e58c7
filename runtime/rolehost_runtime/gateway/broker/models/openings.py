"""The opening words of prompts as requests carry them: salted, and written as JSON once for a revision and not for each call."""

from typing import NamedTuple

import msgspec

from rolehost_runtime.core.models.caching import salted
from rolehost_runtime.core.sieve import Sieve

MAX_BYTES = 33_554_432
"""32 MiB: some 250 of the largest personas, or ten thousand of a page each."""
OVERHEAD = 512
"""What Python takes for an entry beside its texts."""
_encode = msgspec.json.Encoder().encode


class Opening(NamedTuple):
    text: str
    json: msgspec.Raw


class Openings:
    """By whose they are and what they say: `key` names a tenant's revision, and two tenants have never the same. The
    words themselves are compared, not a hash of them, so what is found is what was asked for."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.kept: Sieve[tuple[str, str, bool], Opening] = Sieve(max_bytes)

    def of(self, key: str, text: str, *, with_salt: bool) -> Opening:
        where = (key, text, with_salt)
        found = self.kept.get(where)
        if found is None:
            words = salted(text, key) if with_salt else text
            found = Opening(words, msgspec.Raw(_encode(words)))
            self.kept.put(where, found, OVERHEAD + 5 * len(text) + len(bytes(found.json)))
        return found
