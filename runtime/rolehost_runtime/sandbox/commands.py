"""`rolehost sandbox`, the same as `python -m rolehost_runtime.sandbox`."""

import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Run role logic for gateways that dial in (what a sandbox pod runs).",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run role logic for gateways that dial in. `--help` says more."""
    from rolehost_runtime.sandbox.__main__ import main

    sys.exit(main(arguments))
