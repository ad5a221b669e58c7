"""`rolehost chat`: a conversation in the terminal, over the same library as everybody's."""

import asyncio
import secrets
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TextIO, TypeVar

import click
from websockets.exceptions import InvalidHandshake

from rolehost.cli.address import plainly
from rolehost.cli.kubectl import Kubectl, cluster_options, namespace_option
from rolehost.cli.reach import Gateway, gateway, gateway_options, key_hint
from rolehost.cli.terminal import visible
from rolehost.client import ClientError, Unreachable, connect

PATIENCE = 60.0
"""Seconds for an answer to begin, losses and retries included."""
OPEN_SECONDS = 30.0
T = TypeVar("T")


@click.command()
@click.argument("role")
@click.option("-m", "--message", help="Say one thing, print the answer and exit.")
@click.option("--session", default="", help="Go on with this session; a fresh one where left out.")
@namespace_option
@gateway_options
@cluster_options
def chat(
    role: str,
    message: str | None,
    session: str,
    namespace: str,
    url: str,
    key: str,
    context: str,
    platform_namespace: str,
) -> None:
    """Talk to ROLE. An empty line or Ctrl-D ends it; the session can be taken up again.

    The gateway is --url, else a `rolehost dev` on this machine, else the address in the Role's status, else a
    port-forward through kubectl that ends with the chat. A CA of your own: SSL_CERT_FILE=/path/to/ca.pem.
    """
    kubectl = Kubectl(context, platform_namespace)
    with gateway(url, key, kubectl, local=not context, role=role, namespace=namespace) as found:
        talk = Talk(found, role, session or f"cli-{secrets.token_hex(4)}")
        try:
            if message is not None:
                talk.turn(message, sys.stdout)
            else:
                _converse(talk)
        finally:
            talk.close()


def _converse(talk: "Talk") -> None:
    name, greeting = talk.opened()
    click.secho(f"{name} · session {talk.session} · an empty line ends it", dim=True)
    if greeting:
        click.echo(f"{click.style(name, bold=True)} › {greeting}")
    while True:
        try:
            said = click.prompt(click.style("you", bold=True), prompt_suffix=" › ", default="", show_default=False)
        except click.Abort:
            said = ""
        if not said.strip():
            break
        click.echo(click.style(name, bold=True) + " › ", nl=False)
        try:
            talk.turn(said, sys.stdout)
        except click.ClickException as error:
            click.secho(f"\n{error.format_message()}", fg="red", err=True)
    click.secho(f"go on with: rolehost chat {talk.role} --session {talk.session}", dim=True)


class Talk:
    """One session, whose connection is kept by a thread of its own while the user thinks."""

    def __init__(self, found: Gateway, role: str, session: str) -> None:
        self.role, self.session = role, session
        self._gateway = found
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
        self._thread.start()
        self._talk = connect(
            found.url, role, key=found.key or None, session_id=session, patience=OPEN_SECONDS, ready=self._mend
        )
        self._entered = False
        self._mending = threading.Lock()

    def opened(self) -> tuple[str, str]:
        """Connect: the Role's name as people see it, and what it says first. Raises ClickException."""
        if not self._entered:
            self._run(self._talk.__aenter__())
            self._entered = True
        about = self._talk.about
        return visible(about.get("display_name") or self.role), visible(about.get("greeting") or "")

    def turn(self, said: str, out: TextIO) -> None:
        """Say something and print the answer as it comes. Raises ClickException with the Role's error."""
        self.opened()
        self._run(self._say(said, out))

    def close(self) -> None:
        self._run(self._talk.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _say(self, said: str, out: TextIO) -> None:
        told = False
        async for piece in self._talk.say(said, patience=PATIENCE):
            out.write(("\n" if piece.reset else "") + visible(piece))  # what was begun anew starts on a line of its own
            out.flush()
            told = True
        if told:
            out.write("\n")

    async def _mend(self, failed: int) -> None:
        """Before each dialling: a way that broke is mended first, and where it only seems to stand it is made anew,
        once; the first connection is not waited for longer than that."""
        ensure = self._gateway.ensure
        if not self._entered and failed > (ensure is not None):
            raise self._unreachable(self._talk.cause or OSError("no connection"))
        if ensure is not None:
            await asyncio.to_thread(self._ensured, ensure, failed > 0)

    def _ensured(self, ensure: Callable[[bool], None], broken: bool) -> None:
        with self._mending:  # a try that was given up may still be at it
            try:
                ensure(broken)
            except click.ClickException as error:
                if not self._entered:
                    raise
                raise OSError(error.format_message()) from error  # later there may be a way again

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except ClientError as error:
            cause = self._talk.cause
            if isinstance(cause, click.ClickException):
                raise cause from None
            if isinstance(error, Unreachable) and cause is not None:
                raise self._unreachable(cause) from None
            raise click.ClickException(_sentence(error)) from None

    def _unreachable(self, cause: Exception) -> click.ClickException:
        if isinstance(cause, InvalidHandshake):
            return click.ClickException(f"{self._gateway.url} refused the connection: {cause}")
        return click.ClickException(f"{self._gateway.url} does not answer: {plainly(cause)}")


def _sentence(error: ClientError) -> str:
    return ". ".join(part for part in (error.message, error.hint) if part) + f" ({error.code})" + key_hint(error.code)
