"""Find a gateway and speak HTTP to it.

`--url` (ROLEHOST_URL) where it is given; else a `rolehost dev` on this machine, where the
command may use one; else the address in the Role's status, where it leads to a gateway from
here; else a port-forward to the gateway of the cluster that kubectl means.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from rolehost.cli.address import base_of, inside, plainly, unreachable
from rolehost.cli.forward import forwarded
from rolehost.cli.kubectl import Kubectl
from rolehost_api.names import GATEWAY_PORT, GROUP, ROLES

LOCAL = f"http://127.0.0.1:{GATEWAY_PORT}"
TIMEOUT = 60.0
MAX_ANSWER = 4 * 1_048_576
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Gateway:
    url: str
    """Without a trailing slash."""
    key: str = ""
    lasting: bool = True
    """Whether the address is there when this command has ended."""
    ensure: Callable[[bool], None] | None = None
    """Where the way there can break: stands it up again, also one that only seems to stand. Raises ClickException."""

    def open(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", *, timeout: float = TIMEOUT
    ) -> Any:
        """The response as a stream. Raises ClickException with the gateway's own sentence."""
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)  # noqa: S310 - http(s), see `checked`
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        if kind:
            request.add_header("Content-Type", kind)
        try:
            return urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise click.ClickException(refusal(error.read(MAX_ANSWER), error.code)) from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise click.ClickException(
                f"{self.url} does not answer: {plainly(error)}. Check --url, or leave it out"
            ) from None

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        """The JSON answer."""
        with self.open(method, path, body, kind) as response:
            return json.loads(response.read(MAX_ANSWER) or b"null")


def refusal(body: bytes, status: int) -> str:
    """The sentence in an error's body: message, hint and code.

    >>> refusal(b'{"error": {"code": "not_found", "message": "no Role cat", "hint": "Look"}}', 404)
    'no Role cat. Look (not_found)'
    >>> refusal(b'<html>', 502)
    'the gateway answered 502'
    """
    try:
        error = json.loads(body)["error"]
        sentence = ". ".join(part for part in (error["message"], error.get("hint", "")) if part)
        return f"{sentence} ({error['code']})" + key_hint(error["code"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {status}"


def key_hint(code: str) -> str:
    """How to come by a key, where that is what is missing."""
    return (
        "\nGive --key, or: export ROLEHOST_KEY=$(rolehost keys create --tenant NAMESPACE --quiet)"
        if code == "unauthorized"
        else ""
    )


def gateway_options(command: F) -> F:
    """--url and --key."""
    command = click.option("--key", envvar="ROLEHOST_KEY", default="", help="A tenant's key [env ROLEHOST_KEY].")(
        command
    )
    return click.option("--url", envvar="ROLEHOST_URL", default="", help="Of the gateway [env ROLEHOST_URL].")(command)


@contextmanager
def gateway(
    url: str, key: str, kubectl: Kubectl, *, local: bool, role: str = "", namespace: str = ""
) -> Iterator[Gateway]:
    """A gateway that answers, for as long as the block runs; a line on stderr says which way was found.

    With `role` the address in that Role's status is tried before a port-forward. Raises ClickException.
    """
    if url:
        if role:
            _tell(f"{url} (--url or ROLEHOST_URL)")
        yield Gateway(checked(url), key)
    elif local and not namespace and _answers(LOCAL):
        _tell(f"{LOCAL} (on this machine)")
        yield Gateway(LOCAL, key)
    elif role and (base := _published(kubectl.context, namespace, role)):
        _tell(f"{base} (the Role's address)")
        yield Gateway(base, key)
    else:
        with ExitStack() as held:
            try:
                forward = held.enter_context(forwarded(kubectl))
            except click.ClickException as error:
                start = "Start one here with `rolehost dev`, or give --url" if local else "Give --url"
                raise click.ClickException(
                    f"no gateway was given, and through kubectl none was found: {error.format_message()}\n"
                    f"{start}, or point kubectl at the cluster (KUBECONFIG, --context)"
                ) from None
            _tell(f"{kubectl.namespace}/rolehost-gateway through {forward.address} (kubectl port-forward)")
            yield Gateway(f"http://{forward.address}", key, lasting=False, ensure=forward.ensure)


def _tell(way: str) -> None:
    click.echo(f"gateway: {way}", err=True)


def _published(context: str, namespace: str, role: str) -> str:
    """Where the Role says that it is, if that leads to a gateway from here; else empty, and why is told."""
    tenant, _, name = role.partition("@")[0].lower().rpartition("/")
    try:
        found = Kubectl(context, namespace or tenant).get(f"{ROLES}.{GROUP}", name) or {}
    except click.ClickException:
        return ""  # the port-forward will say it, if it fares no better
    base = base_of(((found.get("status") or {}).get("address") or {}).get("url") or "", name)
    why = unreachable(base) if base else None
    if why is not None and not inside(base):
        click.echo(f"{base} (the Role's address) is no way from here: {why}", err=True)
    return "" if why is not None else base


def checked(url: str) -> str:
    """The address as it is used, without a slash at its end; a socket's means the same. Raises BadParameter."""
    url = re.sub(r"^ws(s?)://", r"http\1://", url)
    if not re.match(r"https?://[^/\s]+", url):
        raise click.BadParameter("must start with http:// or https://", param_hint="--url")
    return url.rstrip("/")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=1.0) as response:  # noqa: S310 - a constant
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False
