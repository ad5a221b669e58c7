"""`rolehost deploy`: from a checkout to a Role that serves, with what happens on the way."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from rolehost.cli import checkout, tenants
from rolehost.cli.address import inside
from rolehost.cli.failing import told
from rolehost.cli.kubectl import Kubectl, cluster_options, namespace_option
from rolehost.cli.push import filled, packed_logic, send
from rolehost.cli.reach import Gateway, gateway, gateway_options
from rolehost_api import names
from rolehost_api.errors import Finding, RolehostError
from rolehost_api.names import FOLLOW, GROUP, READY, ROLES

MANAGER = "rolehost-deploy"
SILENCE = 10.0
"""Seconds after which a Role of which the operator said nothing deserves a word."""
FINAL = {
    names.INVALID_SPEC,
    names.LOGIC_INVALID,
    names.BUNDLE_NOT_FOUND,
    names.BACKEND_NOT_FOUND,
    names.CONFIG_MAP_NOT_FOUND,
    names.CONFIG_MAP_TOO_LARGE,
    names.NOT_A_TENANT,
    names.SANDBOX_UNAVAILABLE,
    names.SANDBOX_BREACHED,
}
"""Reasons that waiting does not cure."""


@click.command()
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--watch", is_flag=True, help="Deploy again at every edit; open sessions follow.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait until it is Ready.")
@namespace_option
@gateway_options
@cluster_options
def deploy(
    path: Path,
    watch: bool,
    timeout: float,
    namespace: str,
    url: str,
    key: str,
    context: str,
    platform_namespace: str,
) -> None:
    """Check, push and apply the Roles in PATH, wait until they serve, and print where."""
    kubectl = Kubectl(context, namespace)
    with told(), ExitStack() as held:
        here = [checkout.read(manifest) for manifest in checkout.manifests(path)]
        found = held.enter_context(gateway(url, key, Kubectl(context, platform_namespace), local=False))
        for one in here:
            _deploy(one, found, kubectl, timeout, follow=watch)
        if watch:
            for _ in _edits(path if path.is_dir() else path.parent):
                _again(path, found, kubectl, timeout)


def _again(path: Path, found: Gateway, kubectl: Kubectl, timeout: float) -> None:
    """A broken edit is told, and what serves goes on serving."""
    try:
        for manifest in checkout.manifests(path):
            _deploy(checkout.read(manifest), found, kubectl, timeout, follow=True)
    except (RolehostError, click.ClickException, OSError) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.secho(said, fg="red", err=True)


def _deploy(here: checkout.Checkout, found: Gateway, kubectl: Kubectl, timeout: float, *, follow: bool) -> None:
    packed = packed_logic(here)
    if packed and (faults := checkout.syntax_faults(here.folder)):
        raise click.ClickException("\n".join(faults))
    text = filled(here, packed)
    _checked_there(found, text)
    send(found, packed)
    for name, bundle in packed.items():
        click.echo(f"pushed {name}: {bundle.digest}")
    click.echo(kubectl.apply(text, MANAGER), nl=False)
    for role in here.roles:
        where = Kubectl(kubectl.context, kubectl.namespace or role.metadata.namespace)
        follows = [f"{FOLLOW}=true", "--overwrite"] if follow else [f"{FOLLOW}-"]
        where.run("annotate", f"{ROLES}.{GROUP}", role.metadata.name, *follows)
        _await_ready(where, role.metadata.name, timeout, found.url if found.lasting else "")


def _checked_there(found: Gateway, text: str) -> None:
    """The platform's own word on the manifest, before anything is changed."""
    answer = found.ask("POST", "/v1/roles:check", text.encode(), "application/yaml")
    findings = answer.get("findings") or []
    if findings:
        lines = [msgspec.convert(item, Finding).shown("  the manifest") for item in findings]
        raise click.ClickException("the platform refuses the manifest:\n" + "\n".join(lines))


def _await_ready(kubectl: Kubectl, role: str, timeout: float, url: str) -> None:
    def observe() -> dict[str, Any]:
        return kubectl.get(f"{ROLES}.{GROUP}", role) or {}

    shown: dict[str, str] = {}
    began, silent = time.monotonic(), True
    space = str(observe().get("metadata", {}).get("namespace", ""))
    if tenants.is_tenant(kubectl, space) is False:
        raise click.ClickException(
            f"{role} is applied, but nobody serves it: namespace {space} is not a tenant's.\n"
            f"To make it one, {tenants.how(space)}"
        )
    for found in _until(observe, began + timeout):
        status = found.get("status") or {}
        if silent and (status.get("conditions") or time.monotonic() >= began + SILENCE):
            silent = False
            if not status.get("conditions"):
                click.echo(f"  the operator says nothing of it yet; if it has no rights there, {tenants.how(space)}")
        current = status.get("observedGeneration") == found.get("metadata", {}).get("generation")
        conditions = {item["type"]: item for item in status.get("conditions") or []} if current else {}
        for kind, item in conditions.items():
            line = f"{kind}={item['status']} {item.get('reason', '')}: {item.get('message', '')}".rstrip(": ")
            if shown.get(kind) != line:
                click.echo(f"  {line}")
                shown[kind] = line
        ready = conditions.get(READY, {})
        if ready.get("status") == "True" and status.get("latestCreatedRevision") == status.get("latestReadyRevision"):
            said = (status.get("address") or {}).get("url") or ""
            click.echo(f"{role} serves {status['latestReadyRevision']} at {address_for(role, said, url)}")
            click.echo(f"  rolehost chat {role}")
            return
        bad = next((c for c in conditions.values() if c["status"] == "False" and c.get("reason") in FINAL), None)
        if bad is not None:
            raise click.ClickException(f"{role}: {bad['reason']}: {bad.get('message', '')}")
    waiting = (
        "; ".join(shown.values())
        or f"the operator has not looked at it; is it running? Has it rights there? If not, {tenants.how(space)}"
    )
    raise click.ClickException(f"{role} is not Ready after {timeout:.0f} s: {waiting}")


def _until(observe: Callable[[], dict[str, Any]], deadline: float) -> Iterator[dict[str, Any]]:
    while True:
        yield observe()
        if time.monotonic() >= deadline:
            return
        time.sleep(0.5)


def address_for(role: str, said: str, url: str) -> str:
    """Where to talk to it from here: what the status says, unless that is a name inside of the cluster only.

    >>> address_for("cat", "wss://roles.example.com/role/cat", "http://127.0.0.1:18080")
    'wss://roles.example.com/role/cat'
    >>> address_for("cat", "ws://rolehost-gateway.rolehost-system.svc:8080/role/cat", "https://roles.example.com")
    'wss://roles.example.com/role/cat'
    >>> address_for("cat", "ws://rolehost-gateway.rolehost-system.svc:8080/role/cat", "")
    'ws://rolehost-gateway.rolehost-system.svc:8080/role/cat'
    """
    return f"{url.replace('http', 'ws', 1)}/role/{role}" if url and (inside(said) or not said) else said


def _edits(folder: Path) -> Iterator[None]:
    try:
        from watchfiles import watch

        from rolehost.cli.watching import Sources
    except ModuleNotFoundError:
        raise click.ClickException("--watch needs watchfiles. Run: pip install 'rolehost[dev]'") from None
    click.echo("watching; Ctrl-C ends it and leaves the Role as it is")
    folder = folder.resolve()
    for _ in watch(folder, watch_filter=Sources([folder]), raise_interrupt=False):
        yield
