"""`rolehost operator` and `rolehost plan`. Heavy imports wait until a command runs."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from rolehost_api import jsonlog
from rolehost_api.errors import InvalidManifest, RolehostError
from rolehost_api.link import root_secret
from rolehost_api.names import INTERNAL_PORT, METRICS_PORT


def _variable(name: str) -> str:
    return f"ROLEHOST_{name}"


@click.command(context_settings={"show_default": True})
@click.option("--namespace", envvar=_variable("NAMESPACE"), required=True, help="The platform's own namespace.")
@click.option("--pod-name", envvar=_variable("POD_NAME"), default="operator", help="This operator's name in the lease.")
@click.option("--sandbox-image", envvar=_variable("SANDBOX_IMAGE"), required=True, help="Image of sandbox pods.")
@click.option("--sandbox-pull-policy", envvar=_variable("SANDBOX_PULL_POLICY"), default="IfNotPresent")
@click.option(
    "--platform-keys",
    envvar=_variable("PLATFORM_KEYS"),
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the gateways' public keys, *.pem.",
)
@click.option(
    "--attestation-root",
    envvar=_variable("ATTESTATION_FILE"),
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the secret that tenant namespaces' keys are made of.",
)
@click.option(
    "--gateway-token",
    envvar=_variable("GATEWAY_TOKEN"),
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token to show to gateways.",
)
@click.option("--public-url", envvar=_variable("PUBLIC_URL"), required=True, help="Where clients connect, no path.")
@click.option(
    "--probe-targets", envvar=_variable("PROBE_TARGETS"), default="", help="host:port,… a sandbox must not reach."
)
@click.option(
    "--upgrade-percent",
    envvar=_variable("UPGRADE_PERCENT"),
    type=click.IntRange(1, 100),
    default=10,
    help="Of all sandbox Deployments, how many may be replaced at a time.",
)
@click.option("--metrics-port", envvar=_variable("METRICS_PORT"), default=METRICS_PORT)
@click.option("--internal-port", envvar=_variable("INTERNAL_PORT"), default=INTERNAL_PORT, help="Of the gateways.")
@click.option(
    "--watch-silence-seconds",
    envvar=_variable("WATCH_SILENCE_SECONDS"),
    type=click.FloatRange(min=1),
    default=70.0,
    help="Without even a bookmark (one comes every 60 s), before a watch is opened anew.",
)
@click.option(
    "--prometheus-url",
    envvar=_variable("PROMETHEUS_URL"),
    default="",
    help="Of a Prometheus that scrapes the gateways: rollouts are judged by it. Empty: they wait for people.",
)
@click.option(
    "--prometheus-token",
    envvar=_variable("PROMETHEUS_TOKEN"),
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with a bearer token for it.",
)
@click.option(
    "--prometheus-matchers",
    envvar=_variable("PROMETHEUS_MATCHERS"),
    default="",
    help="Matchers that only the gateways' series have, where it scrapes tenants' pods too.",
)
@click.option("--log-level", envvar=_variable("LOG_LEVEL"), default="info")
def operator(
    namespace: str,
    pod_name: str,
    sandbox_image: str,
    sandbox_pull_policy: str,
    platform_keys: Path,
    attestation_root: Path,
    gateway_token: Path | None,
    public_url: str,
    probe_targets: str,
    upgrade_percent: int,
    metrics_port: int,
    internal_port: int,
    watch_silence_seconds: float,
    prometheus_url: str,
    prometheus_token: Path | None,
    prometheus_matchers: str,
    log_level: str,
) -> None:
    """Keep the cluster as its Roles say, until told to stop."""
    import asyncio
    import secrets
    import signal

    import uvloop

    from rolehost_operator import settings
    from rolehost_operator.platform import Platform
    from rolehost_operator.run import run

    jsonlog.to_stdout(log_level.upper())
    logging.getLogger("kopf").setLevel(logging.WARNING)
    resolver = Path("/etc/resolv.conf")
    try:
        platform = Platform(
            namespace=namespace,
            sandbox_image=sandbox_image,
            gateway_url=public_url.rstrip("/"),
            public_keys=settings.public_keys(platform_keys),
            attestation_root=root_secret.attestation_root(attestation_root),
            probe_targets=settings.probe_targets(
                probe_targets,
                os.environ.get("KUBERNETES_SERVICE_HOST", ""),
                os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
                resolver.read_text() if resolver.is_file() else "",
            ),
            image_pull_policy=sandbox_pull_policy,
            upgrade_percent=upgrade_percent,
        )
    except RolehostError as error:
        raise click.ClickException(str(error)) from error
    chosen = settings.Settings(
        platform=platform,
        identity=f"{pod_name}_{secrets.token_hex(4)}",
        platform_keys=platform_keys,
        token_file=gateway_token,
        metrics_port=metrics_port,
        internal_port=internal_port,
        watch_silence_seconds=watch_silence_seconds,
        prometheus_url=prometheus_url,
        prometheus_token=prometheus_token,
        prometheus_matchers=prometheus_matchers,
    )

    async def until_told() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(chosen, stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_told())


@click.command()
@click.argument("manifests", type=click.File("r"), nargs=-1, required=True)
@click.option("--namespace", "-n", default="default", show_default=True, help="Where a manifest names none.")
@click.option("--before", type=click.File("r"), multiple=True, help="A manifest that serves already; for edits.")
def plan(manifests: tuple[TextIO, ...], namespace: str, before: tuple[TextIO, ...]) -> None:
    """Print as YAML what applying these manifests would make, without a cluster.

    ConfigMaps and ModelBackends among them are taken as applied too. The platform's own
    settings (image, keys, URL) show as placeholders. With --before, a comment says how
    each Role goes on from there: at once, or step by step.
    """
    import yaml

    from rolehost_api.manifest import check
    from rolehost_api.manifest.reading import plain, read
    from rolehost_operator.preview import courses, preview

    def documents(files: tuple[TextIO, ...]) -> list[Any]:
        found: list[Any] = []
        for file in files:
            text = file.read()
            if findings := check(text):
                raise InvalidManifest(file.name, findings)
            found += [plain(node) for node in read(text)]
        return found

    try:
        wanted, earlier = documents(manifests), documents(before)
        objects = preview(wanted, namespace, earlier)
        lines = courses(wanted, namespace, earlier)
    except RolehostError as error:
        raise click.ClickException(str(error)) from error
    for line in lines:
        click.echo(f"# {line}")
    separate = json.loads(json.dumps(objects))  # what objects share would be printed as YAML aliases
    yaml.safe_dump_all(separate, sys.stdout, sort_keys=False, allow_unicode=True)
