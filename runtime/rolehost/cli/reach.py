"""Find a gateway and speak HTTP to it.

`--url` (ROLEHOST_URL) where it is given; else a `rolehost dev` on this machine, where the
command may use one; else a port-forward to the gateway of the cluster that kubectl means.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from rolehost.cli.kubectl import Kubectl, sentence
from rolehost_api.names import GATEWAY_PORT

LOCAL = f"http://127.0.0.1:{GATEWAY_PORT}"
TIMEOUT = 60.0
MAX_ANSWER = 4 * 1_048_576
_FORWARDING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+)")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Gateway:
    url: str
    """Without a trailing slash."""
    key: str = ""
    lasting: bool = True
    """Whether the address is there when this command has ended."""

    def open(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", *, timeout: float = TIMEOUT
    ) -> Any:
        """The response as a stream. Raises ClickException with the gateway's own sentence."""
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)  # noqa: S310 - http(s), see `_checked`
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


def plainly(error: Exception) -> str:
    """Why a connection failed, without the number of the error.

    >>> plainly(urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")))
    'Connection refused'
    """
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner)


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
def gateway(url: str, key: str, kubectl: Kubectl, *, local: bool) -> Iterator[Gateway]:
    """A gateway that answers, for as long as the block runs."""
    if url:
        yield Gateway(_checked(url), key)
    elif local and _answers(LOCAL):
        click.echo(f"gateway: {LOCAL} (on this machine)", err=True)
        yield Gateway(LOCAL, key)
    else:
        with _forwarded(
            kubectl, "Start one here with `rolehost dev`, or give --url" if local else "Give --url"
        ) as address:
            yield Gateway(f"http://{address}", key, lasting=False)


def _checked(url: str) -> str:
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


@contextmanager
def _forwarded(kubectl: Kubectl, otherwise: str) -> Iterator[str]:
    """A port-forward to the gateway's Service, on a free port of this machine."""
    command = kubectl.command("port-forward", "service/rolehost-gateway", f":{GATEWAY_PORT}", "--address=127.0.0.1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
    # Killed by name it would leave kubectl behind; so it leaves by its own way out.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    patience = threading.Timer(20.0, process.terminate)
    patience.start()
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = next((match for line in process.stdout if (match := _FORWARDING.search(line))), None)
        patience.cancel()
        if found is None:
            said = sentence(process.stderr.read()) or "it took over 20 s"
            raise click.ClickException(
                f"no gateway was given, and through kubectl none was found: {said}\n"
                f"{otherwise}, or point kubectl at the cluster (KUBECONFIG, --context)"
            )
        # kubectl goes on writing a line per connection: read them, or it blocks.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        click.echo(f"gateway: {kubectl.namespace}/rolehost-gateway through {found.group(1)}", err=True)
        yield found.group(1)
    finally:
        patience.cancel()
        process.terminate()
        process.wait(5)
        signal.signal(signal.SIGTERM, before)
