"""Settings of the process, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from rolehost_api.errors import BadRequest
from rolehost_api.names import EMBEDDER_PORT


@dataclass(frozen=True, slots=True)
class Settings:
    host: str = "127.0.0.1"
    """ROLEHOST_HOST: only this machine, where nothing else is said. Nobody proves who they are here: in a cluster a
    NetworkPolicy lets in gateways alone."""
    port: int = EMBEDDER_PORT
    """ROLEHOST_PORT. 0: any free one, which is printed."""
    threads: int = 1
    """ROLEHOST_EMBEDDER_THREADS: cores that one text is read on."""


def read(environment: Mapping[str, str]) -> Settings:
    """Raises BadRequest that names the variable.

    >>> read({"ROLEHOST_PORT": "0"})
    Settings(host='127.0.0.1', port=0, threads=1)
    >>> read({"ROLEHOST_EMBEDDER_THREADS": "many"})
    Traceback (most recent call last):
    ...
    rolehost_api.errors.BadRequest: ROLEHOST_EMBEDDER_THREADS is not a whole number from 1 to 64
    """
    usual = Settings()
    return Settings(
        host=environment.get("ROLEHOST_HOST") or usual.host,
        port=_number(environment, "ROLEHOST_PORT", usual.port, 0, 65_535),
        threads=_number(environment, "ROLEHOST_EMBEDDER_THREADS", usual.threads, 1, 64),
    )


def _number(environment: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    said = environment.get(name) or str(usual)
    if not (said.isascii() and said.isdigit() and least <= int(said) <= most):
        raise BadRequest(f"{name} is not a whole number from {least} to {most}", code="invalid_settings")
    return int(said)
