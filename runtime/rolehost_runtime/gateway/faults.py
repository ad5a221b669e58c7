"""What a bug leaves in the log: where it was, not what was said."""

import logging
import traceback

from rolehost_api.errors import RolehostError

OURS = RolehostError("something went wrong on our side", hint="The operator of this platform finds it in the log")


def internal(log: logging.Logger, doing: str, error: BaseException) -> RolehostError:
    """Log a fault of ours by type and place (its text may quote a conversation); what to tell the client."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    log.error("a bug while %s: %s at %s", doing, type(error).__name__, where)
    return OURS


def told(log: logging.Logger, doing: str, error: Exception) -> RolehostError:
    """What to tell the client of an error: itself where it is meant for people, else that it is a fault of ours."""
    return error if isinstance(error, RolehostError) else internal(log, doing, error)
