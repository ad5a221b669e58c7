"""`rolehost tokens`: tokens for a tenant's end users. The gateway signs them and keeps none."""

import json
from datetime import UTC, datetime

import click

from rolehost.cli.kubectl import Kubectl, cluster_options
from rolehost.cli.reach import gateway, gateway_options


@click.group()
def tokens() -> None:
    """Make tokens for your end users."""


@tokens.command()
@click.option("--user", required=True, help="The end user, by the id that your own system knows.")
@click.option("--role", default="", help="The one Role that it is for; left out, all of the tenant's.")
@click.option(
    "--revision", default="", help="For a tester: the revision of that Role that their sessions are on, e.g. @r3."
)
@click.option("--ttl", type=click.IntRange(1, 3_600), default=3_600, show_default=True, help="Seconds that it lasts.")
@click.option("-q", "--quiet", is_flag=True, help="Print the token only.")
@gateway_options
@cluster_options
def create(
    user: str,
    role: str,
    revision: str,
    ttl: int,
    quiet: bool,
    url: str,
    key: str,
    context: str,
    platform_namespace: str,
) -> None:
    """Make a token for one end user and print it; the key needs the scope act-as-user."""
    asked = {"user": user, "ttl_s": ttl} | ({"role": role} if role else {})
    asked |= {"revision": revision} if revision else {}
    with gateway(url, key, Kubectl(context, platform_namespace), local=not context, role=role) as found:
        answer = found.ask("POST", "/v1/tokens", json.dumps(asked).encode(), "application/json")
    if not quiet:
        until = datetime.fromtimestamp(answer["expires_ms"] / 1000, UTC).isoformat(timespec="seconds")
        at = (answer["role"] or "every Role") + (f"@{answer['revision']}" if answer.get("revision") else "")
        click.echo(f"{answer['user']} at {at}, until {until}:", err=True)
    click.echo(answer["token"])
