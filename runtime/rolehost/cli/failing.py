"""Errors as a person in a terminal should see them: a sentence and a next step, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from rolehost_api.errors import RolehostError


@contextmanager
def told() -> Iterator[None]:
    """Turn our own errors into click's, which prints them and exits with 1."""
    try:
        yield
    except RolehostError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}") from None
