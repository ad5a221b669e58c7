"""Suites that any plugin must pass, for whoever writes one: a class to inherit from, for pytest with pytest-asyncio.

    from rolehost_runtime.conformance.models import ModelProviderConformance

    class TestAcme(ModelProviderConformance):
        def make(self):
            return Acme(lambda entry: "a-key")

The platform's own adapters pass the same suites. Nothing of the platform imports these modules.
"""
