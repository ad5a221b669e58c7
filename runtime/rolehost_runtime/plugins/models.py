"""What an author of a ModelProvider needs.

    class Acme:
        rolehost_protocol = 1

        def __init__(self, key: Callable[[str], str]) -> None: ...      # an entry of the Secret rolehost-model-keys → its key

        async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
            yield "Hello"
            yield ModelEnd("stop", Usage(input_tokens=1, output_tokens=1))

It is named in the group `rolehost.model_providers`, and asked by ModelBackends of type Plugin. `close()`, where there is
one, is awaited at the end. Conformance: `rolehost_runtime.conformance.models`.
"""

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_api.wire import Usage
from rolehost_runtime.gateway.broker.models.failures import (
    broken_off,
    garbage,
    overloaded,
    refusal,
    too_slow,
    unavailable,
)
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelProvider, ModelRequest

__all__ = [
    "BackendSpec",
    "BackendType",
    "BadRequest",
    "ModelEnd",
    "ModelMessage",
    "ModelProvider",
    "ModelRequest",
    "RolehostError",
    "ServedModel",
    "Unavailable",
    "Usage",
    "broken_off",
    "garbage",
    "overloaded",
    "refusal",
    "too_slow",
    "unavailable",
]
