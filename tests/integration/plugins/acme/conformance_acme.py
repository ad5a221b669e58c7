"""What a third party runs: `pytest conformance_acme.py`, with pytest-asyncio."""

from acme_plugins import Last, Parrot, Shelf
from acme_plugins.letters import Letter
from acme_plugins.manners import Manners

from rolehost_runtime.conformance.behavior import BehaviorPolicyConformance
from rolehost_runtime.conformance.guards import GuardConformance
from rolehost_runtime.conformance.memory import MemoryStoreConformance
from rolehost_runtime.conformance.models import ModelProviderConformance
from rolehost_runtime.conformance.prompts import PromptTemplateConformance


class TestParrot(ModelProviderConformance):
    def make(self):
        return Parrot(lambda entry: "sk-secret")


class TestShelf(MemoryStoreConformance):
    def make(self):
        return Shelf()


class TestLast(BehaviorPolicyConformance):
    def make(self):
        return Last()


class TestManners(GuardConformance):
    objectionable = "Blast it!"

    def make(self):
        return Manners()


class TestLetter(PromptTemplateConformance):
    def make(self):
        return Letter()
