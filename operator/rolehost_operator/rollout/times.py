"""Times as a status keeps them. No clock is right: what lies ahead has lasted no time at all."""

from datetime import UTC, datetime, timedelta

NONE = timedelta(0)


def stamp(at: datetime) -> str:
    """RFC 3339, in UTC, to the second.

    >>> stamp(datetime(2030, 1, 1, 12, 0, 7, 900_000, tzinfo=UTC))
    '2030-01-01T12:00:07Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime | None:
    """None for what is empty or no time.

    >>> moment("2030-01-01T12:00:07Z").minute, moment(""), moment("soon")
    (0, None, None)
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def since(text: str, at: datetime) -> timedelta:
    """How long ago, never negative: whoever wrote it may have had another clock.

    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> since("2030-01-01T11:59:00Z", noon).seconds, since("2030-01-01T12:10:00Z", noon).seconds
    (60, 0)
    """
    then = moment(text)
    return max(NONE, at - then) if then else NONE


def left(text: str, seconds: int, at: datetime) -> timedelta:
    """Of `seconds` from then on; never more than all of them, never less than nothing.

    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> left("2030-01-01T11:59:00Z", 90, noon).seconds, left("2030-01-01T12:10:00Z", 90, noon).seconds
    (30, 90)
    """
    return max(NONE, timedelta(seconds=seconds) - since(text, at))
