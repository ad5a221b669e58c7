"""Reading a session's log in tests."""

from collections.abc import Iterable

from rolehost_runtime.core.record import Record, TurnRecord


def turns(log: Iterable[Record]) -> list[TurnRecord]:
    """The turns of a log that has nothing else in it."""
    found = list(log)
    assert all(isinstance(record, TurnRecord) for record in found), "the log holds an amend"
    return [record for record in found if isinstance(record, TurnRecord)]
