"""Names of what Redis holds of sessions. Whatever is one person's with one Role lies under one hash tag, so that one
server-side call may write all of it."""

from rolehost_api.identity import session_of, tag_of


def head(key: str) -> str:
    """
    >>> head("t:s"), head("k")
    ('rh:{t}:s:head', 'rh:{k}:k:head')
    """
    return f"{place(key)}:head"


def wal(key: str) -> str:
    return f"{place(key)}:wal"


def snap(key: str) -> str:
    return f"{place(key)}:snap"


def quarantine(key: str) -> str:
    return f"{place(key)}:quarantine"


def segments(key: str) -> str:
    return f"{place(key)}:segs"


def place(key: str) -> str:
    return f"rh:{{{tag_of(key)}}}:{session_of(key)}"


def user(tag: str) -> str:
    """
    >>> user("t")
    'rh:{t}:user'
    """
    return f"rh:{{{tag}}}:user"


def memories(key: str) -> str:
    """What is remembered of the person, or of the session where no end user is named.

    >>> memories("t:s"), memories("k"), memories("k") == memories_alone("k")
    ('rh:{t}:mem', 'rh:{k}:k:mem', True)
    """
    return memories_alone(key) if tag_of(key) == key else f"rh:{{{tag_of(key)}}}:mem"


def memories_alone(key: str) -> str:
    """A session's own: it goes with the session."""
    return f"{place(key)}:mem"


def compensations(tag: str) -> str:
    return f"{user(tag)}:comp"
