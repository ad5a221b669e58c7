"""`rolehost chat`: a conversation in the terminal, over the same WebSocket as everybody's."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TextIO
from urllib.parse import quote

import click
import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rolehost.cli.address import plainly
from rolehost.cli.kubectl import Kubectl, cluster_options, namespace_option
from rolehost.cli.reach import Gateway, gateway, gateway_options, key_hint
from rolehost.cli.terminal import visible
from rolehost_api.wire import SUBPROTOCOL

PATIENCE = 330.0
"""Longest wait for the next frame: a model's whole answer and a bit."""


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
    """One session over one socket, which is opened again where it was lost."""

    def __init__(self, found: Gateway, role: str, session: str) -> None:
        self.role, self.session = role, session
        self._gateway = found
        self._held = ExitStack()
        self._socket: ClientConnection | None = None

    def opened(self) -> tuple[str, str]:
        """Connect: the Role's name as people see it, and what it says first."""
        for event in self._frames():
            if event["type"] == "error":
                raise click.ClickException(_sentence(event["error"]))
            if event["type"] == "session.created":
                return visible(event.get("display_name") or self.role), visible(event.get("greeting") or "")
        return self.role, ""

    def turn(self, said: str, out: TextIO) -> None:
        """Say something and print the answer as it comes. Raises ClickException with the Role's error."""
        # One client_msg_id for both attempts: a turn that was committed is replayed, not run twice.
        frame = msgspec.json.encode(
            {"message": said, "session_id": self.session, "client_msg_id": secrets.token_hex(8)}
        ).decode()
        try:
            self._ask(frame, out)
        except ConnectionClosed:
            try:
                self._ask(frame, out)
            except ConnectionClosed:
                raise click.ClickException("the connection was lost twice in this turn; try again") from None

    def _ask(self, frame: str, out: TextIO) -> None:
        if self._socket is None:
            self.opened()
        try:
            self._connected().send(frame)
            self._print_answer(out)
        except ConnectionClosed:
            self.close()
            raise

    def _print_answer(self, out: TextIO) -> None:
        shown = 0
        for event in self._frames():
            match event["type"]:
                case "response.output_text.delta" if event["offset"] + len(event["delta"]) > shown:
                    out.write(visible(event["delta"][max(0, shown - event["offset"]) :]))
                    out.flush()
                    shown = event["offset"] + len(event["delta"])
                case "response.done":
                    if event["message"] or shown:
                        out.write(visible(event["message"][shown:]) + "\n")
                    if event["status"] == "failed":
                        raise click.ClickException(_sentence(event.get("error") or {}))
                    return
                case "error":
                    raise click.ClickException(_sentence(event["error"]))

    def _frames(self) -> Iterator[dict[str, Any]]:
        socket = self._connected()
        while True:
            try:
                yield msgspec.json.decode(socket.recv(timeout=PATIENCE), type=dict[str, Any])
            except TimeoutError:
                raise click.ClickException("the Role said nothing for minutes; try again") from None
            except ConnectionClosed as closed:
                self.close()
                if closed.rcvd is not None and 4400 <= closed.rcvd.code < 4500:
                    raise click.ClickException(closed.rcvd.reason or f"closed with {closed.rcvd.code}") from None
                raise

    def _connected(self) -> ClientConnection:
        if self._socket is None:
            try:
                self._socket = self._held.enter_context(self._opened_socket())
            except InvalidHandshake as error:
                raise click.ClickException(f"{self._gateway.url} refused the connection: {error}") from None
            except (OSError, WebSocketException) as error:
                raise click.ClickException(f"{self._gateway.url} does not answer: {plainly(error)}") from None
        return self._socket

    def _opened_socket(self) -> ClientConnection:
        """A way that broke is mended first, and where it only seems to stand it is made anew, once."""
        if self._gateway.ensure is None:
            return self._dialled()
        self._gateway.ensure(False)
        try:
            return self._dialled()
        except (OSError, InvalidMessage):
            self._gateway.ensure(True)
            return self._dialled()

    def _dialled(self) -> ClientConnection:
        address = f"{self._gateway.url.replace('http', 'ws', 1)}/role/{quote(self.role, safe='@:.')}"
        return connect(
            f"{address}?session_id={quote(self.session)}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self._gateway.key}"} if self._gateway.key else {},
            compression=None,
            open_timeout=15,
            proxy=None,
        )

    def close(self) -> None:
        self._held.close()
        self._socket = None


def _sentence(error: dict[str, Any]) -> str:
    parts = [str(error.get("message") or "the turn failed"), str(error.get("hint") or "")]
    code = str(error.get("code") or "")
    return ". ".join(part for part in parts if part) + (f" ({code})" if code else "") + key_hint(code)
