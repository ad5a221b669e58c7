"""The tool's command line: python -m tests.cluster up | down | status | load | load-image | build | exec.

Exit code 3 means that this machine cannot run the cluster at all, and says why.
"""

import sys
import time
from pathlib import Path

import click
from tests.cluster import images, install, kind, monitoring, node, parts
from tests.cluster.common import ClusterError, Paths, alone, paths, say
from tests.cluster.namespace import in_namespace

HERE = Path(__file__).parent


@click.group(help=__doc__)
def cli() -> None: ...


@cli.command()
@click.option("--node-only", is_flag=True, help="Stop when the node is Ready; install nothing.")
def up(node_only: bool) -> None:
    """Start the node, building what is missing, and install the platform on it."""
    where, on_kind = paths(), kind.wanted()
    if not on_kind:
        node.require_possible()
    with alone(where):
        if on_kind:
            _up_on_kind(where, node_only)
        else:
            _up_from_parts(where, node_only)


def _up_on_kind(where: Paths, node_only: bool) -> None:
    kind.up(where)
    if not node_only:
        images.make_tiny_model(where)
        kind.load(where, [*images.PLATFORM, images.EMBEDDER, images.TINY_MODEL])
        click.echo(install.platform(where, [HERE / "values.yaml"]))


def _up_from_parts(where: Paths, node_only: bool) -> None:
    minutes = parts.minutes(where) + (0 if node_only else images.minutes(where))
    if minutes:
        say(f"the first time this takes about {minutes:.0f} min on two cores; everything built stays in {where.cache}")
    node.prepare(where)
    began = time.monotonic()
    node.up(where)
    images.ensure(where, [images.PAUSE, images.COREDNS])
    node.wait_ready(where)
    say(f"node Ready in {time.monotonic() - began:.1f} s; KUBECONFIG={where.kubeconfig}")
    if not node_only:
        click.echo(_platform_from_parts(where))


def _platform_from_parts(where: Paths) -> str:
    was_installed = install.installed(where)
    install.dns(where)
    images.make_tiny_model(where)
    wanted = [images.REDIS, *images.PLATFORM, images.EMBEDDER, images.TINY_MODEL, images.MONITORING]
    fresh = images.ensure(where, wanted)
    install.volumes(where)
    values = [HERE / "values.yaml", HERE / "values-parts.yaml"]
    if was_installed and fresh:
        install.chart(where, values)  # first: new code may need what only the new chart gives it
        install.reload(where)
    return install.platform(where, values)


@cli.command()
def monitor() -> None:
    """Put Prometheus, Alertmanager and Jaeger beside the platform, and say where they are."""
    where = paths()
    with alone(where):
        install.monitoring(where)
    for name, port in monitoring.PORTS.items():
        click.echo(f"{name}: http://127.0.0.1:{monitoring.near(where, name, port)}")


@cli.command()
def down() -> None:
    """Stop everything; only the cache of built things stays."""
    where = paths()
    with alone(where):
        if kind.running(where):
            kind.down(where)
        else:
            node.down(where)
            images.release(where)


@cli.command()
def status() -> None:
    """What runs; exit code 0 only if the node is Ready."""
    where = paths()
    if kind.running(where):
        click.echo(node.kubectl(where, "get", "nodes,pods", "-A", "-o", "wide"))
        return
    found = node.status(where)
    for name, alive in found.daemons.items():
        click.echo(f"{name:20} {'runs' if alive else 'down'}")
    click.echo(f"{'node':20} {'Ready' if found.ready else 'not Ready'}")
    if not found.up:
        sys.exit(1)
    click.echo(node.kubectl(where, "get", "pods", "-A", "-o", "wide"))
    click.echo(f"export KUBECONFIG={where.kubeconfig}")


@cli.command()
@click.argument("names", nargs=-1)
def load(names: tuple[str, ...]) -> None:
    """Build images from this checkout (the platform's, or those named), load them and put them to work."""
    where = paths()
    unknown = set(names) - images.ALL.keys()
    if unknown:
        raise ClusterError(f"there is no image {', '.join(sorted(unknown))}; known: {', '.join(images.ALL)}")
    began = time.monotonic()
    wanted = [images.ALL[name] for name in names] or list(images.PLATFORM)
    with alone(where):
        if kind.running(where):
            kind.load(where, wanted)
        elif not images.ensure(where, wanted):
            say("nothing changed")
            return
        if install.installed(where) and any(image in images.PLATFORM for image in wanted):
            install.reload(where)
    say(f"loaded and in service in {time.monotonic() - began:.1f} s")


@cli.command("load-image")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load_image(archive: Path) -> None:
    """Load an image archive (OCI or Docker) that was made elsewhere."""
    images.import_file(paths(), archive)


@cli.command()
def build() -> None:
    """Build what takes long, without starting anything."""
    where = paths()
    with alone(where):
        node.prepare(where)
        images.make_tiny_model(where)


@cli.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("argv", nargs=-1, required=True)
def execute(argv: tuple[str, ...]) -> None:
    """Run a program inside the node's namespace, for instance: exec -- nft list ruleset."""
    click.echo(in_namespace(paths(), argv), nl=False)


def main() -> None:
    try:
        cli()
    except ClusterError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
