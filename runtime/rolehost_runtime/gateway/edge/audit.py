"""What is done to what is kept: counted, and in the audit log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.ports import Principal

audit = logging.getLogger("rolehost.audit")


@contextmanager
def noted(gate: Gate, what: str, principal: Principal) -> Iterator[None]:
    """However it ends, and never a word of what is kept, nor of whom."""
    outcome = "internal"
    try:
        yield
        outcome = "ok"
    except RolehostError as error:
        outcome = error.code
        raise
    finally:
        gate.metrics.kept.labels(what, outcome).inc()
        by = principal.key_sha256[:12] or "local"
        audit.info("%s tenant=%s key=%s end_user=%s outcome=%s",
                   what, principal.tenant.name, by, principal.until_ms is not None, outcome)  # fmt: skip
