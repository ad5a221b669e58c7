"""How the apiserver is reached: address, authority, and who we are; from inside a cluster or by a kubeconfig."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from rolehost_api.errors import BadRequest
from rolehost_api.names import host_port

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Access:
    """One apiserver, and what to show it."""

    url: str
    tls: ssl.SSLContext | None
    token_file: Path | None = None
    """Read again for every request: the kubelet renews it."""
    token: str = ""

    def headers(self) -> Mapping[str, str]:
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"authorization": f"Bearer {token}"} if token else {}


def in_cluster(account: Path = ACCOUNT, environ: Mapping[str, str] | None = None) -> Access:
    """A pod's own account. Raises BadRequest `no_cluster`."""
    given = os.environ if environ is None else environ
    host, port = given.get("KUBERNETES_SERVICE_HOST"), given.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").is_file():
        raise BadRequest(
            "this is no pod with a service-account token", hint="Set ROLEHOST_KUBECONFIG", code="no_cluster"
        )
    tls = ssl.create_default_context(cafile=str(account / "ca.crt"))
    return Access(f"https://{host_port(host, port)}", tls, token_file=account / "token")


def from_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig, with a client certificate or a token. Raises BadRequest `bad_kubeconfig`."""
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        return Access(
            cluster["server"].rstrip("/"),
            _tls(cluster, user) if cluster["server"].startswith("https") else None,
            token_file=Path(user["tokenFile"]) if "tokenFile" in user else None,
            token=user.get("token", ""),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, ssl.SSLError) as error:
        raise BadRequest(
            f"the kubeconfig {path} cannot be used: {type(error).__name__}",
            hint="It needs a current context with a client certificate or a token",
            code="bad_kubeconfig",
        ) from None


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {item["name"]: item for item in items}[name]


def _tls(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    inline = cluster.get("certificate-authority-data")
    tls = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"), cadata=base64.b64decode(inline).decode() if inline else None
    )
    if "client-certificate" in user:
        tls.load_cert_chain(user["client-certificate"], user["client-key"])
    elif "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile() as pair:  # the ssl module reads files only
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            tls.load_cert_chain(pair.name)
    return tls


class Api:
    """Requests to one apiserver over few connections. Used inside `async with`."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Api":
        connector = aiohttp.TCPConnector(limit=32, ssl=self._access.tls if self._access.tls is not None else True)
        self._http = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    def get(
        self, path: str, query: Mapping[str, str], *, total: float | None = REQUEST_SECONDS, read: float | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._request("GET", path, query, None, total, read)

    def post(self, path: str, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._request("POST", path, {}, body, REQUEST_SECONDS, None)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        total: float | None,
        read: float | None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._http is None:
            raise RuntimeError("the Api is used outside of its context")
        headers = {"accept": "application/json", **self._access.headers()}
        if body is not None:
            headers["content-type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=total, connect=CONNECT_SECONDS, sock_read=read)
        return self._http.request(
            method,
            self._access.url + path,
            params=query,
            data=body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        )


async def whole(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The answer's body. Raises ClientPayloadError where it is larger than `most` bytes."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            raise aiohttp.ClientPayloadError("a body larger than we read")
    return bytes(body)
