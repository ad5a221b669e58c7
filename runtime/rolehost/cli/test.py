"""`rolehost test`: a Role's own tests, by the pytest of the Python that rolehost is installed in."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def test(path: Path, options: tuple[str, ...]) -> None:
    """Run the tests in PATH. OPTIONS go to pytest as they are."""
    if find_spec("pytest") is None:
        raise click.ClickException("`rolehost test` needs pytest, which is not installed. Run: pip install pytest")
    done = subprocess.run([sys.executable, "-m", "pytest", str(path), *options], check=False)  # noqa: S603
    raise click.exceptions.Exit(done.returncode)
