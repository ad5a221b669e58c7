"""`rolehost tenants`: what makes a namespace a tenant, and nothing more."""

from typing import Any

import click
import yaml

from rolehost.cli.kubectl import Kubectl, as_json, cluster_options
from rolehost_api.names import OPERATOR_WRITER, TENANT

MANAGER = "rolehost-cli"
OPERATOR = "rolehost-operator"


@click.group()
def tenants() -> None:
    """Make a namespace a tenant."""


@tenants.command()
@click.argument("namespace")
@click.option("--dry-run", is_flag=True, help="Print the YAML and change nothing.")
@cluster_options
def add(namespace: str, dry_run: bool, context: str, platform_namespace: str) -> None:
    """Make NAMESPACE a tenant: its labels, and the operator's rights in it. Safe to repeat."""
    objects = onboarding(namespace, platform_namespace)
    if dry_run:
        click.echo(yaml.safe_dump_all(objects, sort_keys=False), nl=False)
        return
    click.echo(Kubectl(context).apply(as_json(objects), MANAGER), nl=False)
    click.echo(f"{namespace} is a tenant. Its first key: rolehost keys create --tenant {namespace}")


def is_tenant(kubectl: Kubectl, namespace: str) -> bool | None:
    """Whether the namespace is a tenant's; None where this user may not look."""
    try:
        found = kubectl.get("namespace", namespace)
    except click.ClickException:
        return None
    return found is not None and TENANT in (found["metadata"].get("labels") or {})


def how(namespace: str) -> str:
    """The cure for a namespace that is not a tenant's, or only by its label; a tenant cannot do it alone."""
    return f"a platform administrator runs: rolehost tenants add {namespace}"


def onboarding(namespace: str, platform_namespace: str) -> list[dict[str, Any]]:
    """The namespace with its labels, and the RoleBinding by which the operator may write there."""
    labels = {TENANT: "true", "pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": OPERATOR_WRITER, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR_WRITER},
            "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": platform_namespace}],
        },
    ]
