"""The suite for ModelProviders, which third parties run too, over our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.model_servers import ANTHROPIC, OLLAMA, OPENAI, Speech, serving

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_runtime.conformance.models import ModelProviderConformance
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.plugins import PluginProvider
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelProvider


class TestScripted(ModelProviderConformance):
    backend = BackendSpec(type=BackendType.SCRIPTED)

    def make(self) -> ModelProvider:
        return ScriptedProvider()


class TestBehindThePlatformsBounds(ModelProviderConformance):
    """A provider as sessions meet a plugin's."""

    def make(self) -> ModelProvider:
        return PluginProvider({"mine": ScriptedProvider()})

    def broken(self) -> BackendSpec:
        return BackendSpec(type=BackendType.PLUGIN, plugin="nobodys")


class _OverHttp(ModelProviderConformance):
    speech: Speech

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[ModelProvider, BackendSpec]]:
        provider = HttpProvider(KeyRing(None))
        async with serving(self.speech) as server:
            try:
                yield provider, server.backend()
            finally:
                await provider.close()

    def broken(self) -> BackendSpec:
        models = [ServedModel(name="m-1", model="m-1")]
        return BackendSpec(type=self.speech.type, base_url="http://127.0.0.1:1", models=models)


class TestOpenAI(_OverHttp):
    speech = OPENAI


class TestAnthropic(_OverHttp):
    speech = ANTHROPIC


class TestOllama(_OverHttp):
    speech = OLLAMA


async def test_a_suite_cannot_be_passed_by_nothing() -> None:
    with pytest.raises(NotImplementedError):
        await ModelProviderConformance().test_text_comes_in_pieces_and_then_one_end()
