"""`rolehost keys`: a tenant's service keys. Only their SHA-256 is kept, in one ConfigMap."""

import json
from datetime import UTC, datetime
from typing import Any

import click

from rolehost.cli.kubectl import Kubectl, as_json, cluster_options
from rolehost_api.identity import new_key
from rolehost_api.names import KEYS, TENANT

MANAGER = "rolehost-cli"
SCOPES = ("chat", "push", "admin", "act-as-user")


@click.group()
def keys() -> None:
    """Make, list and revoke a tenant's keys."""


@keys.command()
@click.option("--tenant", required=True, help="The tenant's namespace.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Repeatable; default: chat and push.")
@click.option("-q", "--quiet", is_flag=True, help="Print the key only.")
@cluster_options
def create(tenant: str, scopes: tuple[str, ...], quiet: bool, context: str, platform_namespace: str) -> None:
    """Make a key for a tenant and print it, once."""
    kubectl = Kubectl(context, platform_namespace)
    namespace = kubectl.get("namespace", tenant)
    if namespace is None or TENANT not in (namespace["metadata"].get("labels") or {}):
        raise click.ClickException(f"namespace {tenant} is no tenant. Run `rolehost tenants add {tenant}` first")
    key_id, key, sha256 = new_key()
    entry = {
        "sha256": sha256,
        "tenant": tenant,
        "tenantUID": namespace["metadata"]["uid"],
        "scopes": list(scopes or ("chat", "push")),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if kubectl.get("configmap", KEYS) is None:
        empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": KEYS, "namespace": platform_namespace}}
        kubectl.apply(as_json([empty]), MANAGER)
    kubectl.merge("configmap", KEYS, {"data": {key_id: json.dumps(entry)}})
    if not quiet:
        click.echo(f"key {key_id} of {tenant} ({', '.join(entry['scopes'])}); it is not shown again:", err=True)
    click.echo(key)


@keys.command("list")
@click.option("--tenant", default="", help="Only this tenant's.")
@cluster_options
def list_keys(tenant: str, context: str, platform_namespace: str) -> None:
    """List keys by their ids; the keys themselves are nowhere."""
    for key_id, entry in sorted(_entries(Kubectl(context, platform_namespace)).items()):
        if not tenant or entry.get("tenant") == tenant:
            scopes = ",".join(entry.get("scopes") or ())
            click.echo(f"{key_id}  {entry.get('tenant', '?'):20}  {scopes:30}  {entry.get('created', '')}")


@keys.command()
@click.argument("key_id")
@cluster_options
def revoke(key_id: str, context: str, platform_namespace: str) -> None:
    """Revoke a key; its live sockets are closed within seconds."""
    kubectl = Kubectl(context, platform_namespace)
    if key_id not in _entries(kubectl):
        raise click.ClickException(f"there is no key {key_id}. `rolehost keys list` shows them")
    kubectl.merge("configmap", KEYS, {"data": {key_id: None}})
    click.echo(f"key {key_id} is revoked")


def _entries(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    found = kubectl.get("configmap", KEYS) or {}
    entries = {}
    for key_id, text in (found.get("data") or {}).items():
        try:
            entry = json.loads(text)
        except ValueError:
            entry = {}
        entries[key_id] = entry if isinstance(entry, dict) else {}
    return entries
