"""Somebody at a real apiserver: what is said to a request of theirs."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.support.apiserver import ADMIN, ApiServer

Object = dict[str, Any]
MASTERS = "system:masters"
PLURALS = {
    "Pod": "pods",
    "ReplicaSet": "replicasets",
    "Deployment": "deployments",
    "Job": "jobs",
    "StatefulSet": "statefulsets",
    "NetworkPolicy": "networkpolicies",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "Role": "hostedroles",
    "RoleRevision": "hostedrolerevisions",
}
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


@dataclass(frozen=True)
class Answer:
    code: int
    body: Object

    @property
    def good(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return "" if self.good else str(self.body.get("message", ""))


def address(one: Mapping[str, Any], *, named: bool = True, subresource: str = "") -> str:
    root = f"/apis/{one['apiVersion']}" if "/" in one["apiVersion"] else f"/api/{one['apiVersion']}"
    place = f"{root}/namespaces/{one['metadata']['namespace']}/{PLURALS[one['kind']]}"
    return "/".join(part for part in (place, one["metadata"]["name"] if named else "", subresource) if part)


class Door:
    """One connection as admin, through which anybody asks by impersonation. RBAC judges who is impersonated."""

    def __init__(self, apiserver: ApiServer) -> None:
        certificate, key = apiserver.authority.issue(ADMIN, [MASTERS])
        context = ssl.create_default_context(cafile=str(apiserver.authority.file))
        context.load_cert_chain(certificate, key)
        url = urlsplit(apiserver.url)
        self._connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=30)

    def ask(
        self, who: "Somebody", method: str, path: str, body: Object | None, media: str = "application/json"
    ) -> Answer:
        self._connection.putrequest(method, path)
        self._connection.putheader("Impersonate-User", who.user)
        for group in ("system:authenticated", *who.groups):
            self._connection.putheader("Impersonate-Group", group)
        data = b"" if body is None else json.dumps(body).encode()
        self._connection.putheader("Content-Type", media)
        self._connection.putheader("Content-Length", str(len(data)))
        self._connection.endheaders(data)
        answer = self._connection.getresponse()
        return Answer(answer.status, json.loads(answer.read()))

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Somebody:
    """A user; `kept` False asks with dryRun, which passes admission and leaves nothing."""

    door: Door
    user: str
    groups: tuple[str, ...] = ()
    kept: bool = False

    def create(self, one: Object) -> Answer:
        return self._ask("POST", address(one, named=False), one)

    def patch(self, one: Object, patch: Object, *, subresource: str = "", media: str = MERGE) -> Answer:
        return self._ask("PATCH", address(one, subresource=subresource), patch, media)

    def delete(self, one: Object) -> Answer:
        return self._ask("DELETE", address(one))

    def delete_all(self, one: Object) -> Answer:
        """Of the kind of `one`, in its namespace, by one request."""
        return self._ask("DELETE", address(one, named=False))

    def _ask(self, method: str, path: str, body: Object | None = None, media: str = "application/json") -> Answer:
        query = "" if self.kept else f"?{urlencode({'dryRun': 'All'})}"
        return self.door.ask(self, method, f"{path}{query}", body, media)
