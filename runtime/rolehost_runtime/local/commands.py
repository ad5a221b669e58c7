"""The command `rolehost dev`."""

import asyncio
from pathlib import Path

import click

from rolehost.cli.failing import told
from rolehost_api.names import GATEWAY_PORT
from rolehost_runtime.local.dev import run


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--port", default=GATEWAY_PORT, show_default=True, help="0: any free port.", type=click.IntRange(0, 65535)
)
@click.option(
    "--data",
    default=Path(".rolehost"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where sessions are kept; they outlive this command.",
)
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Serve gRPC there too. 0: any free port.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics there.")
@click.option("--model", default="", help="scripted, ollama/NAME, openai/NAME, anthropic/NAME or NAME@URL.")
@click.option(
    "--embeddings", default="", help="local: memories are found by their meaning, by a model on this machine."
)
def dev(
    paths: tuple[Path, ...],
    port: int,
    data: Path,
    grpc_port: int | None,
    metrics_port: int | None,
    model: str,
    embeddings: str,
) -> None:
    """Run the Roles in PATHS (default: this folder) here, follow every edit, and serve a page to talk to them.

    The model is --model, else the key in OPENAI_API_KEY (OPENAI_BASE_URL, OPENAI_MODEL), else the key in
    ANTHROPIC_API_KEY (ANTHROPIC_BASE_URL, ANTHROPIC_MODEL), else an Ollama on this machine, else a script that needs no
    model.
    """
    with told():
        asyncio.run(run(paths or (Path(),), port, data.resolve(), model, grpc_port, embeddings, metrics_port))
