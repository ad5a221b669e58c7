"""User-scope state between the store and its script: what a commit brings, what comes back."""

import msgspec

from rolehost_api.errors import RolehostError
from rolehost_api.identity import session_of
from rolehost_runtime.core.memory.atoms import MemoryFull
from rolehost_runtime.core.merge import CounterTooLarge, changes_of
from rolehost_runtime.core.patch import StateTooLarge
from rolehost_runtime.core.record import CorruptRecord, TurnRecord
from rolehost_runtime.gateway.broker.state.redis_memories import memory_full
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.ports import Compensation, Superseded


def shared_words(key: str, record: TurnRecord, user_bytes: int) -> list[Word]:
    """What the script MERGE takes. Raises InvalidPatch."""
    words: list[Word] = [record.user_base, record.mark, user_bytes, session_of(key)]
    for change in changes_of(record.user_patch):
        words += (change.kind.value, change.field, change.what)
    return words


def refused(word: str) -> RolehostError:
    """What a commit is refused with."""
    match word:
        case CounterTooLarge.code:
            return CounterTooLarge("a Counter would have more than 53 bits")
        case StateTooLarge.code:
            return StateTooLarge(
                "user-scope state would be too large with what other sessions keep in it",
                hint="Keep less in State with scope user",
            )
        case MemoryFull.code:
            return memory_full()
    return Superseded()


def compensation(entry_id: bytes, fields: dict[bytes, bytes]) -> Compensation:
    """An entry of the stream. Raises CorruptRecord."""
    try:
        return Compensation(
            version=int(entry_id.partition(b"-")[0]),
            field=fields[b"field"].decode(),
            written=int(fields[b"written"]),
            value=msgspec.msgpack.decode(fields[b"value"]),
            session=fields[b"session"].decode(),
            turn=int(fields[b"turn"]),
        )
    except (KeyError, ValueError, msgspec.MsgspecError):
        raise CorruptRecord("a compensation cannot be read") from None
