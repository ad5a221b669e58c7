"""The command `rolehost doctor`."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable

import click

from rolehost.cli.doctor.api import api
from rolehost.cli.doctor.examination import Examination, Wanted
from rolehost.cli.doctor.finding import Finding
from rolehost.cli.doctor.report import as_json, good, line, summary
from rolehost.cli.kubectl import Kubectl, cluster_options
from rolehost.cli.reach import checked, gateway_options


@click.command()
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option("--no-pods", is_flag=True, help="Make no pods: what only they can try is skipped.")
@click.option("--probe-namespace", default="", help="Where pods are made for seconds; the platform's where left out.")
@gateway_options
@cluster_options
def doctor(
    output: str, no_pods: bool, probe_namespace: str, url: str, key: str, context: str, platform_namespace: str
) -> None:
    """Say whether this platform is as it has to be, and what mends it. Exits with 1 where something FAILs.

    In ten seconds, with the rights of a platform administrator; whoever has fewer is told what could not be seen.
    Three pods, two NetworkPolicies and, without --key of scope admin, a tenant's key live as long as the run.
    """
    wanted = Wanted(
        kubectl=Kubectl(context, platform_namespace),
        url=checked(url) if url else "",
        key=key,
        probe_namespace=probe_namespace,
        pods=not no_pods,
    )
    began = time.monotonic()
    tell: Callable[[Finding], None] = (lambda _: None) if output == "json" else (lambda one: click.echo(line(one)))
    findings = asyncio.run(_interruptible(wanted, tell))
    took = time.monotonic() - began
    click.echo(as_json(findings, took) if output == "json" else summary(findings, took))
    sys.exit(0 if good(findings) else 1)


async def _interruptible(wanted: Wanted, tell: Callable[[Finding], None]) -> list[Finding]:
    """A first Ctrl-C ends it by its own way out, which takes away what was made; a second one changes nothing."""
    loop, told = asyncio.get_running_loop(), list[int]()
    work = asyncio.create_task(_examined(wanted, tell))

    def stop(number: int) -> None:
        if not told:
            told.append(number)
            click.echo("stopping; what was made is taken away", err=True)
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        raise click.exceptions.Exit(128 + told[0] if told else 1) from None


async def _examined(wanted: Wanted, tell: Callable[[Finding], None]) -> list[Finding]:
    found: list[Finding] = []
    async with api(wanted.kubectl) as cluster:
        examination = None
        try:
            async with asyncio.TaskGroup() as tasks:
                examination = Examination(cluster, wanted, tasks)
                async for finding in examination.findings():
                    found.append(finding)
                    tell(finding)
        finally:
            if examination is not None:
                await examination.clear()
    return found
