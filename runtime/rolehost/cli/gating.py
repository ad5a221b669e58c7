"""A gate's word on a revision: an annotation of its RoleRevision, by whoever may change that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from rolehost.cli.kubectl import Kubectl
from rolehost_api.errors import BadRequest, NotFound
from rolehost_api.names import GATE, GROUP, REVISIONS, ROLES

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PASSED, FAILED = "Passed", "Failed"
KIND = f"{REVISIONS}.{GROUP}"


@dataclass(frozen=True, slots=True)
class Gate:
    """`spec.rollout.analysis.gates[].name`, and the revision that it is told of."""

    name: str
    revision: str
    kubectl: Kubectl

    def tell(self, good: bool) -> None:
        """Raises ClickException where kubectl may not."""
        said = PASSED if good else FAILED
        self.kubectl.run("annotate", KIND, self.revision, f"{GATE}/{self.name}={said}", "--overwrite")
        click.echo(f"gate {self.name} of {self.revision}: {said}", err=True)


def gate(name: str, revision: str, role: str, kubectl: Kubectl) -> Gate:
    """Before anything is played, so that nobody waits for what cannot be told. Without a `revision` the one that `role` is
    about to roll out. Raises BadRequest, NotFound, ClickException.
    """
    if not NAME.fullmatch(name):
        raise BadRequest(f"{name!r} is no gate's name", hint="It is one of spec.rollout.analysis.gates", code="no_gate")
    if not revision:
        found = kubectl.get(f"{ROLES}.{GROUP}", role)
        revision = newest(found or {})
        if not revision:
            raise NotFound(f"there is no revision of {role} here", hint="Deploy it first, or give --revision and -n")
    elif kubectl.get(KIND, revision) is None:
        raise NotFound(f"there is no revision {revision} here", hint="See kubectl get rhv, and give --namespace")
    return Gate(name, revision, kubectl)


def newest(role: Mapping[str, Any]) -> str:
    """The revision of a Role that waits for its gates, or the newest.

    >>> newest({"status": {"latestCreatedRevision": "cat-2", "rollout": {"stage": "Preparing", "revision": "cat-1"}}})
    'cat-1'
    >>> newest({"status": {"latestCreatedRevision": "cat-2", "rollout": {"stage": "", "revision": "cat-1"}}})
    'cat-2'
    """
    status = role.get("status") or {}
    rollout = status.get("rollout") or {}
    return str((rollout.get("stage") and rollout.get("revision")) or status.get("latestCreatedRevision") or "")
