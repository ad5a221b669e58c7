"""The tool's command line: python -m tests.cluster up | down | status | build | load-image | ctr | exec."""

import sys
import time

import click
from tests.cluster import images, node, parts
from tests.cluster.common import ClusterError, paths, say
from tests.cluster.namespace import in_namespace


@click.group(help=__doc__)
def cli() -> None: ...


@cli.command()
def up() -> None:
    """Start the node (building what is missing), and the platform on it."""
    where = paths()
    began = time.monotonic()
    node.up(where)
    for image in images.NODE[:2]:
        images.build(where, image)
    images.load(where, [image.name for image in images.NODE[:2]])
    node.wait_ready(where)
    say(f"node Ready after {time.monotonic() - began:.1f} s; KUBECONFIG={where.kubeconfig}")


@cli.command()
def down() -> None:
    """Stop everything; only the cache of built things stays."""
    node.down(paths())


@cli.command()
def status() -> None:
    """What runs; exit code 0 only if the node is Ready."""
    where = paths()
    found = node.status(where)
    for name, alive in found.daemons.items():
        click.echo(f"{name:20} {'runs' if alive else 'down'}")
    click.echo(f"{'node':20} {'Ready' if found.ready else 'not Ready'}")
    if found.up:
        click.echo(f"export KUBECONFIG={where.kubeconfig}")
    else:
        sys.exit(1)


@cli.command()
def build() -> None:
    """Build the node's programs without starting anything."""
    where = paths()
    node.require_possible()
    parts.install_packages()
    parts.build(where)


@cli.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("argv", nargs=-1, required=True)
def execute(argv: tuple[str, ...]) -> None:
    """Run a program inside the node's namespace."""
    click.echo(in_namespace(paths(), argv), nl=False)


def main() -> None:
    try:
        cli(standalone_mode=True)
    except ClusterError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
