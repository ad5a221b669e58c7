"""A port-forward to the cluster's gateway, through kubectl, for as long as a command runs."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from rolehost.cli.kubectl import Kubectl, sentence
from rolehost_api.names import GATEWAY_PORT

SERVICE = "service/rolehost-gateway"
FORWARDING = re.compile(r"Forwarding from (127\.0\.0\.1:(\d+))")
START_SECONDS = 20.0
STOP_SECONDS = 5.0


def command(kubectl: Kubectl, port: int = 0) -> list[str]:
    """The command line; without a port any free one of this machine is taken, and kubectl says which."""
    return kubectl.command("port-forward", SERVICE, f"{port or ''}:{GATEWAY_PORT}", "--address=127.0.0.1")


class Forward:
    """One `kubectl port-forward`. It dies with the gateway's pod; `ensure` starts it again, on the same port."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def ensure(self, broken: bool = False) -> None:
        """`broken`: it was tried and led nowhere, whatever kubectl thinks. Raises ClickException with kubectl's words."""
        if self._process is not None and self._process.poll() is None and not broken:
            return
        self.stop()
        self._process = process = subprocess.Popen(  # noqa: S603 - the user's own kubectl
            command(self._kubectl, self._port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        patience = threading.Timer(START_SECONDS, process.terminate)
        patience.start()
        try:
            found = next((match for line in process.stdout if (match := FORWARDING.search(line))), None)
        finally:
            patience.cancel()
        if found is None:
            raise click.ClickException(sentence(process.stderr.read()) or f"it took over {START_SECONDS:.0f} s")
        self._port = int(found.group(2))
        # kubectl goes on writing a line per connection: read them, or it blocks.
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=stream.read, daemon=True).start()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def forwarded(kubectl: Kubectl) -> Iterator[Forward]:
    """A port-forward that stands. Raises ClickException with what kubectl said where none comes about."""
    forward = Forward(kubectl)
    # Killed by name we would leave kubectl behind; so we leave by our own way out.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        forward.ensure()
        yield forward
    finally:
        forward.stop()
        signal.signal(signal.SIGTERM, before)
