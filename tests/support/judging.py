"""What a real apiserver says of a manifest, without keeping it."""

import http.client
import json
import re
import ssl
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from tests.support.apiserver import ADMIN, ApiServer

from rolehost_api.crd.kinds import KINDS
from rolehost_api.names import API_VERSION

PLACES = {kind.cls.__name__: (kind.plural, kind.namespaced) for kind in KINDS}
NAMED = re.compile(r'unknown field "([^"]+)"|key "([^"]+)" already set|: \.((?:spec|metadata)[^:]*):')
"""Where the apiserver names a field in its message only: it cannot decode what it would validate."""

NOWHERE = "<nil>"
"""How it names the object as a whole, and how it says that it stopped looking."""


@dataclass(frozen=True)
class Verdict:
    good: bool
    fields: frozenset[str] = frozenset()
    """That it names; a rule between fields is named by the part that holds them, a key that is
    given twice by its own name only. Empty where the fault is the object's as a whole."""
    message: str = ""


class Judge:
    """One connection to the apiserver as admin; every question is a dry run with strict fields."""

    def __init__(self, apiserver: ApiServer, namespace: str) -> None:
        certificate, key = apiserver.authority.issue(ADMIN, ["system:masters"])
        context = ssl.create_default_context(cafile=str(apiserver.authority.file))
        context.load_cert_chain(certificate, key)
        url = urlsplit(apiserver.url)
        self._connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=30)
        self._namespace = namespace

    def create(self, kind: str, text: str) -> Verdict:
        """As `kubectl create` asks."""
        return self._ask("POST", self._path(kind), text, "application/yaml", {})

    def apply(self, kind: str, name: str, text: str) -> Verdict:
        """As `rolehost deploy` asks: a server-side apply."""
        query = {"fieldManager": "judge", "force": "true"}
        return self._ask("PATCH", f"{self._path(kind)}/{name}", text, "application/apply-patch+yaml", query)

    def _path(self, kind: str) -> str:
        plural, namespaced = PLACES[kind]
        return f"/apis/{API_VERSION}" + (f"/namespaces/{self._namespace}" if namespaced else "") + f"/{plural}"

    def _ask(self, method: str, path: str, text: str, media: str, query: dict[str, str]) -> Verdict:
        asked = urlencode({"dryRun": "All", "fieldValidation": "Strict", **query})
        self._connection.request(method, f"{path}?{asked}", text.encode(), {"Content-Type": media})
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        if answer.status < 300:
            return Verdict(good=True)
        message = str(said.get("message", ""))
        causes = (said.get("details") or {}).get("causes") or []
        fields = {str(cause["field"]) for cause in causes if cause.get("field", NOWHERE) != NOWHERE}
        fields |= {next(filter(None, found.groups())) for found in NAMED.finditer(message)}
        return Verdict(good=False, fields=frozenset(fields), message=message)

    def close(self) -> None:
        self._connection.close()
