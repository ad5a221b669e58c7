"""Keys that are patterns, by RE2: its time is linear in the text, so no pattern of a tenant's can hold a gateway up.

How much time that is grows with a pattern's program, so programs are bounded, of one pattern and of a book.
"""

from collections.abc import Callable

try:
    import re2
except ImportError:  # the command line's small install: it cannot tell whether a pattern is one
    re2 = None

MAX_PROGRAM, MAX_PROGRAMS = 256, 1_024
"""Instructions of one pattern's program, and of all of a book's. On 16,384 characters the worst that was tried took
18 ms for 207 of them; most patterns take microseconds."""
_MAX_BYTES = 1 << 20

Search = Callable[[bytes], bool]


class InvalidPattern(ValueError):
    """It is no pattern, or too large a one. The text says why, and quotes nothing."""


def known() -> bool:
    """Whether patterns can be compiled here."""
    return re2 is not None


def compiled(pattern: str, *, case_sensitive: bool = False) -> tuple[Search, int]:
    """What looks for it in UTF-8, and how large its program is. Raises InvalidPattern."""
    if re2 is None:
        raise InvalidPattern("needs the package google-re2, which is not installed here")
    options = re2.Options()
    options.case_sensitive, options.log_errors, options.max_mem = case_sensitive, False, _MAX_BYTES
    try:
        found = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        raise InvalidPattern(
            "is no pattern of RE2, which has neither look-around nor references back to groups"
        ) from None
    if found.programsize > MAX_PROGRAM:
        raise InvalidPattern(f"is too large: {found.programsize} instructions, at most {MAX_PROGRAM} are allowed")
    search = found.search
    return lambda text: search(text) is not None, found.programsize
