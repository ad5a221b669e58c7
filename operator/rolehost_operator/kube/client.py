"""Requests to the Kubernetes API: few verbs, each bounded in time, every write fenced."""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import kopf
import msgspec

from rolehost_api.errors import RolehostError
from rolehost_api.names import API_VERSION, BACKENDS, FIELD_MANAGER, REPLICAS_MANAGER, REVISIONS, ROLES
from rolehost_operator.kube.access import FRESH
from rolehost_operator.objects import KubeObject
from rolehost_operator.plan import Prune

T = TypeVar("T")
PLURALS = {
    (API_VERSION, "Role"): ROLES,
    (API_VERSION, "RoleRevision"): REVISIONS,
    (API_VERSION, "ModelBackend"): BACKENDS,
    ("apps/v1", "Deployment"): "deployments",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): "customresourcedefinitions",
    ("node.k8s.io/v1", "RuntimeClass"): "runtimeclasses",
    ("coordination.k8s.io/v1", "Lease"): "leases",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("v1", "Namespace"): "namespaces",
    ("v1", "Service"): "services",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Secret"): "secrets",
    ("v1", "Event"): "events",
    ("v1", "Pod"): "pods",
}
READ_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)
WRITE_SECONDS = 4
"""Less than what is left of the lease when a write begins; the apiserver gives up on it by then too."""
WRITE_TIMEOUT = aiohttp.ClientTimeout(total=WRITE_SECONDS + 0.5, connect=2)
PAGE = 500
WATCH_SECONDS = 240
CONNECT_SECONDS = 10
SILENCE_SECONDS = 70.0
"""After which a watch is taken for dead: the apiserver sends bookmarks every 60 s."""
MAX_LINE_BYTES = 8 * 1024 * 1024
"""Of one watch event; an object is at most 1.5 MiB in etcd."""


@dataclass(frozen=True, slots=True)
class Kind:
    """As the API names it; one of PLURALS.

    >>> kind = Kind("apps/v1", "Deployment")
    >>> kind.group, kind.version, kind.plural, Kind("v1", "Namespace").group
    ('apps', 'v1', 'deployments', '')
    """

    api_version: str
    name: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def plural(self) -> str:
        return PLURALS[self.api_version, self.name]


_decode = msgspec.json.Decoder(KubeObject).decode


class _Meta(msgspec.Struct):
    resourceVersion: str = ""
    more: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    items: list[msgspec.Raw] = []
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_decode_page = msgspec.json.Decoder(_Page).decode


class ApiError(RolehostError):
    """The apiserver said no, or nothing. Names the object, never its content."""

    code = "kubernetes_api"

    def __init__(
        self, what: str, status: int, reason: str, retry_after: float | None = None, *, no_right: bool = False
    ) -> None:
        hint = "Is the namespace onboarded? rolehost tenants add" if no_right else ""
        super().__init__(f"{what}: {status} {reason}", hint=hint, retryable=status in (0, 409, 429) or status >= 500)
        self.http_status = status
        self.retry_after = retry_after
        self.no_right = no_right
        """Refused for who we are; a quota and a namespace that is going answer 403 too."""


def _readable(decode: Callable[[bytes | msgspec.Raw], T], data: bytes | msgspec.Raw) -> T:
    """Raises ApiError: what answers is perhaps a proxy."""
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ApiError("an answer", 0, "cannot be read") from None


def _read(data: bytes | msgspec.Raw) -> KubeObject:
    return _readable(_decode, data)


class Fenced(RolehostError):
    """This operator does not hold the Lease (any more) and must not write."""

    code = "fenced"
    retryable = True


def path(api_version: str, kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """
    >>> path("apps/v1", "Deployment", "acme", "cat-1")
    '/apis/apps/v1/namespaces/acme/deployments/cat-1'
    >>> path("v1", "Namespace", name="acme")
    '/api/v1/namespaces/acme'
    """
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    parts = [root, f"namespaces/{namespace}" if namespace else "", PLURALS[api_version, kind], name, subresource]
    return "/".join(part for part in parts if part)


class Client:
    """Connections to the apiserver: a pool for requests, and one for each watch.

    `may_write` is asked before every write but the Lease's own: an operator that lost the
    Lease, or is about to, stops here whatever it was in the middle of.
    """

    def __init__(
        self,
        access: Callable[[], kopf.ConnectionInfo],
        may_write: Callable[[], bool],
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._silence_seconds = silence_seconds
        self._access = access
        self._may_write = may_write
        self._info = access()
        self._read_at = time.monotonic()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._info.as_ssl_context(), limit=64, keepalive_timeout=60)
        )
        # There is one for each tenant whose Roles refer to ConfigMaps: they must not take requests their place.
        self._watching = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._info.as_ssl_context(), limit=0))
        self.on_write: Callable[[str, str], None] = lambda verb, kind: None

    async def close(self) -> None:
        await self._session.close()
        await self._watching.close()

    # ── reading ─────────────────────────────────────────────────────────────────────

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> KubeObject | None:
        try:
            return _read(await self._ask("GET", path(api_version, kind, namespace, name)))
        except ApiError as error:
            if error.http_status == 404:
                return None
            raise

    async def serves(self, api_version: str) -> set[str]:
        """Plurals that the apiserver serves of this group and version; none where it knows neither."""
        try:
            listed = _read(await self._ask("GET", f"/apis/{api_version}"))
        except ApiError as error:
            if error.http_status == 404:
                return set()
            raise
        return {one["name"] for one in listed["resources"]}

    async def list_all(
        self, api_version: str, kind: str, namespace: str = "", selector: str = ""
    ) -> tuple[list[KubeObject], str]:
        """All objects, for kinds of which there are few, and the version to watch from."""
        found: list[KubeObject] = []
        return found, await self.list_each(api_version, kind, found.append, namespace, selector)

    async def list_each(
        self, api_version: str, kind: str, see: Callable[[KubeObject], None], namespace: str = "", selector: str = ""
    ) -> str:
        """Show `see` all objects, one by one as the pages come; returns the version to watch from."""
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = _readable(_decode_page, await self._ask("GET", path(api_version, kind, namespace), query=query))
            for item in page.items:
                # Items of a list carry neither apiVersion nor kind.
                see({"apiVersion": api_version, "kind": kind, **_read(item)})
            if not page.metadata.more:
                return page.metadata.resourceVersion
            query["continue"] = page.metadata.more

    async def watch(
        self, api_version: str, kind: str, namespace: str, version: str, opened: Callable[[], None]
    ) -> AsyncIterator[KubeObject]:
        """Events from `version` on, until the apiserver ends the stream. Raises ApiError, 410 included."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        what = path(api_version, kind, namespace)
        timeout = aiohttp.ClientTimeout(
            total=WATCH_SECONDS + 60, connect=CONNECT_SECONDS, sock_read=self._silence_seconds
        )
        try:
            async with self._watching.get(
                self._info.server + what, params=query, headers=self._headers(), timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise ApiError(f"watch {what}", answer.status, answer.reason or "")
                opened()
                async for line in _lines(answer.content, what):
                    yield _read(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(f"watch {what}", 0, type(error).__name__) from error

    # ── writing ─────────────────────────────────────────────────────────────────────

    async def apply(self, wanted: KubeObject) -> KubeObject:
        """Server-side apply as our field manager; a hand on our fields is undone."""
        metadata = wanted["metadata"]
        where = path(wanted["apiVersion"], wanted["kind"], metadata.get("namespace", ""), metadata["name"])
        return await self._apply("apply", wanted["kind"], where, wanted)

    async def share(self, part: KubeObject) -> KubeObject:
        """Server-side apply of a part of an object as its second manager, who says what is so and forces nothing."""
        metadata = part["metadata"]
        where = path(part["apiVersion"], part["kind"], metadata["namespace"], metadata["name"])
        return await self._apply("share", part["kind"], where, part, manager=REPLICAS_MANAGER, force=False)

    async def replace_pods(self, wanted: KubeObject) -> KubeObject:
        """The whole pod template of a Deployment, with nothing left of what anybody added to it."""
        metadata = wanted["metadata"]
        where = path(wanted["apiVersion"], wanted["kind"], metadata["namespace"], metadata["name"])
        patch = [{"op": "replace", "path": "/spec/template", "value": wanted["spec"]["template"]}]
        self._fence("replace", wanted["kind"])
        query = {"fieldManager": FIELD_MANAGER}
        return _read(await self._ask("PATCH", where, query=query, body=patch, media="application/json-patch+json"))

    async def write_status(self, owner: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        """The whole status of `owner`, if it still is the object that was seen: its UID is a precondition."""
        metadata = {key: owner["metadata"][key] for key in ("name", "namespace", "uid")}
        where = path(owner["apiVersion"], owner["kind"], metadata["namespace"], metadata["name"], "status")
        body = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "metadata": metadata, "status": dict(status)}
        return await self._apply("status", owner["kind"], where, body)

    async def prune(self, gone: Prune) -> None:
        """Delete, if it still is the object in the state that was seen; gone already is as good."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": gone.uid, "resourceVersion": gone.resource_version},
        }
        self._fence("prune", gone.kind)
        try:
            await self._ask("DELETE", path(gone.api_version, gone.kind, gone.namespace, gone.name), body=body)
        except ApiError as error:
            if error.http_status != 404:
                raise

    async def create(self, made: KubeObject, *, fenced: bool = True) -> KubeObject:
        """Plain create. `fenced=False` is for the Lease itself, which is how the fence comes to be."""
        if fenced:
            self._fence("create", made["kind"])
        where = path(made["apiVersion"], made["kind"], made["metadata"]["namespace"])
        return _read(await self._ask("POST", where, body=made))

    async def replace_lease(self, lease: KubeObject) -> KubeObject:
        """Update by resourceVersion: of two that try, one gets 409."""
        metadata = lease["metadata"]
        where = path(lease["apiVersion"], lease["kind"], metadata["namespace"], metadata["name"])
        return _read(await self._ask("PUT", where, body=lease))

    async def _apply(
        self, verb: str, kind: str, where: str, body: KubeObject, *, manager: str = FIELD_MANAGER, force: bool = True
    ) -> KubeObject:
        self._fence(verb, kind)
        query = {"fieldManager": manager, "force": str(force).lower()}
        # JSON is YAML; the media type with "+json" is younger than the clusters that we support.
        return _read(await self._ask("PATCH", where, query=query, body=body, media="application/apply-patch+yaml"))

    def _fence(self, verb: str, kind: str) -> None:
        if not self._may_write():
            raise Fenced("this operator does not hold the lease")
        self.on_write(verb, kind)

    # ── the wire ────────────────────────────────────────────────────────────────────

    def _headers(self) -> dict[str, str]:
        if time.monotonic() - self._read_at > FRESH.total_seconds():
            self._info, self._read_at = self._access(), time.monotonic()
        return {**self._info.as_http_headers(), "Accept": "application/json"}

    async def _ask(
        self,
        method: str,
        where: str,
        *,
        query: Mapping[str, str] | None = None,
        body: KubeObject | list[KubeObject] | None = None,
        media: str = "application/json",
    ) -> bytes:
        headers = self._headers()
        data = None
        if body is not None:
            headers["Content-Type"] = media
            data = msgspec.json.encode(body)
        what = f"{method} {where}"
        timeout = READ_TIMEOUT
        if method != "GET":
            query = {**(query or {}), "timeout": f"{WRITE_SECONDS}s"}
            timeout = WRITE_TIMEOUT
        try:
            async with self._session.request(
                method, self._info.server + where, params=query, data=data, headers=headers, timeout=timeout
            ) as answer:
                text: bytes = await answer.read()
                if answer.status >= 400:
                    after = answer.headers.get("Retry-After", "")
                    wait = float(after) if after.isdigit() else None
                    raise ApiError(what, answer.status, _reason(text), wait, no_right=_no_right(answer.status, text))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(what, 0, type(error).__name__) from error
        return text


async def _lines(stream: aiohttp.StreamReader, what: str) -> AsyncIterator[bytes]:
    """Lines of any length up to a bound; the reader's own limit is far below an object's."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        rest += chunk
        *whole, last = rest.split(b"\n")
        for line in whole:
            if line:
                yield bytes(line)
        rest = last
        if len(rest) > MAX_LINE_BYTES:
            raise ApiError(f"watch {what}", 0, "an event is too long")


def _no_right(status: int, text: bytes) -> bool:
    """
    >>> _no_right(403, b'{"message": "pods is forbidden: User \\\\"x\\\\" cannot list resource"}')
    True
    >>> _no_right(403, b'{"message": "pods is forbidden: exceeded quota: few"}')
    False
    """
    return status == 403 and re.search(rb'User \\?"[^"]*" cannot ', text) is not None


def _reason(text: bytes) -> str:
    """The Status's reason, and the fields it names; its message may quote values of the object."""
    try:
        status = _decode(text)
        causes = (status.get("details") or {}).get("causes") or []
        fields = sorted({str(cause.get("field")) for cause in causes if cause.get("field")})
        return " ".join([str(status.get("reason") or "refused"), *fields[:8]])
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError):
        return "refused"
