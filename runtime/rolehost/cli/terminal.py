"""Text of others on a terminal: shown, never obeyed."""

import unicodedata


def visible(text: str) -> str:
    """The text with control characters written out, so that it cannot drive the terminal.

    Line breaks and tabs stay, and so do joiners, which emoji and some scripts need.

    >>> visible("a\\x1b[2Jb\\n")
    'a\\\\x1b[2Jb\\n'
    """
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) == "Cc" and char not in "\n\t" else char for char in text
    )
