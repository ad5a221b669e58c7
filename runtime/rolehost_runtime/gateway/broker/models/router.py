"""Picks who answers by the backend's type."""

from collections.abc import AsyncIterator, Mapping

from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest


class Models:
    """Implements ports.ModelProvider over one provider per type."""

    def __init__(self, providers: Mapping[BackendType, ModelProvider]) -> None:
        self._providers = providers

    def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        provider = self._providers.get(backend.type)
        if provider is None:
            raise Unavailable(f"backends of type {backend.type.value} are not served here", code="backend_not_served")
        return provider.stream(backend, request)
