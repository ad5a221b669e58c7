"""kubectl, as a subprocess: the cluster, the context and the credentials are the user's own."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

PLATFORM_NAMESPACE = "rolehost-system"
TIMEOUT = 60.0
_LOG_LINE = re.compile(r"[EWI]\d{4} \d\d:\d\d:\d\d\.\d+ ")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Kubectl:
    context: str = ""
    namespace: str = ""

    def command(self, *arguments: str) -> list[str]:
        """The whole command line; raises where there is no kubectl."""
        binary = shutil.which("kubectl")
        if binary is None:
            raise click.ClickException(
                "kubectl is not on PATH. Install it, or give --url (and --key) of a gateway where that is enough"
            )
        where = [f"--context={self.context}"] if self.context else []
        return [binary, *where, *([f"--namespace={self.namespace}"] if self.namespace else []), *arguments]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Its standard output. Raises ClickException with what kubectl said."""
        command = self.command(*arguments)
        try:
            done = subprocess.run(  # noqa: S603 - the user's own kubectl, arguments as a list
                command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise click.ClickException(f"kubectl {arguments[0]} did not answer in {TIMEOUT:.0f} s") from None
        if done.returncode:
            said = sentence(done.stderr) or f"exit {done.returncode}"
            raise click.ClickException(f"kubectl {arguments[0]} failed: {said}")
        return done.stdout

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        text = self.run("get", kind, name, "--output=json", "--ignore-not-found")
        return dict(json.loads(text)) if text.strip() else None

    def apply(self, text: str, manager: str) -> str:
        """Server-side apply under a field manager of its own; what changed, a line each."""
        return self.run("apply", "--server-side", f"--field-manager={manager}", "--filename=-", stdin=text)

    def merge(self, kind: str, name: str, patch: Mapping[str, Any]) -> None:
        self.run("patch", kind, name, "--type=merge", "--patch-file=/dev/stdin", stdin=json.dumps(patch))


def sentence(said: str) -> str:
    """What kubectl says to people, without the log lines of its library.

    >>> sentence('E1123 08:11:39.333928   17795 memcache.go:265] "Unhandled Error"\\nThe connection was refused\\n')
    'The connection was refused'
    """
    return "\n".join(line for line in said.splitlines() if not _LOG_LINE.match(line)).strip()


def as_json(objects: Sequence[Mapping[str, Any]]) -> str:
    """Objects as one List, which is what kubectl applies at once."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def cluster_options(command: F) -> F:
    """--context and --platform-namespace."""
    command = click.option("--context", default="", help="kubectl's context; its current one where left out.")(command)
    return click.option(
        "--platform-namespace",
        envvar="ROLEHOST_PLATFORM_NAMESPACE",
        default=PLATFORM_NAMESPACE,
        show_default=True,
        help="Where the platform runs.",
    )(command)


def namespace_option(command: F) -> F:
    return click.option("-n", "--namespace", default="", help="The tenant's namespace; kubectl's where left out.")(
        command
    )
