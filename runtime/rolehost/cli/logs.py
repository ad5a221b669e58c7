"""`rolehost logs`: what a Role's logic printed, for its own tenant only."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import click
import msgspec

from rolehost.cli.kubectl import Kubectl, cluster_options
from rolehost.cli.reach import gateway, gateway_options
from rolehost.cli.terminal import visible

MAX_LINE = 65_536


@click.command()
@click.argument("role")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what comes.")
@click.option("--session", default="", help="Only lines of this session.")
@gateway_options
@cluster_options
def logs(role: str, follow: bool, session: str, url: str, key: str, context: str, platform_namespace: str) -> None:
    """Print what the logic of ROLE printed, tracebacks included."""
    path = f"/v1/roles/{quote(role, safe='@:.')}/logs" + ("?follow=1" if follow else "")
    try:
        with (
            gateway(url, key, Kubectl(context, platform_namespace), local=not context, role=role) as found,
            found.open("GET", path, timeout=3600.0 if follow else 60.0) as lines,
        ):
            while raw := lines.readline(MAX_LINE):
                if raw.strip():
                    _print(msgspec.json.decode(raw, type=dict[str, Any]), session)
    except KeyboardInterrupt:
        return
    except (TimeoutError, ConnectionError):
        raise click.ClickException("the gateway closed the stream; run it again to go on") from None


def _print(line: dict[str, Any], session: str) -> None:
    if session and line.get("session") != session:
        return
    at = datetime.fromtimestamp(line["at_ms"] / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    where = f" {line['session']}" if line.get("session") else ""
    click.echo(click.style(f"{at}{where} ", dim=True) + _coloured(str(line["text"]), str(line["stream"])))


def _coloured(text: str, stream: str) -> str:
    shown = visible(text.rstrip("\n"))
    return click.style(shown, fg="red") if stream == "stderr" else shown
