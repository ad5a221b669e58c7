"""`rolehost gateway` and `rolehost upload`: what the two Deployments of the runtime image run."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import click
import uvloop

from rolehost_api import jsonlog
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.settings import GatewaySettings, UploadSettings, load


@click.command()
def gateway() -> None:
    """Serve clients; settings come from ROLEHOST_* variables."""
    from rolehost_runtime.gateway.app import in_cluster

    settings = _settings(GatewaySettings)

    async def serve() -> None:
        await (await in_cluster(settings)).run()

    _run(serve())


@click.command()
def upload() -> None:
    """Take in what tenants push; settings come from ROLEHOST_* variables."""
    from rolehost_runtime.gateway.upload.service import serve

    _run(serve(_settings(UploadSettings)))


def _settings(kind: type[Any]) -> Any:
    try:
        settings = load(kind)
    except RolehostError as error:
        raise click.ClickException(str(error)) from None
    jsonlog.to_stdout(settings.log_level)
    return settings


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except RolehostError as error:
        raise click.ClickException(str(error)) from None
