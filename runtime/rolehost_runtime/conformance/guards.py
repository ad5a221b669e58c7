"""What any Guard must do."""

import pytest

from rolehost_runtime.core.safety.conformance import broken
from rolehost_runtime.plugins.guards import Guard


class GuardConformance:
    """Override `make`, and `objectionable` where there is a text that it must have something against."""

    pytestmark = pytest.mark.asyncio
    objectionable = ""

    def make(self) -> Guard:
        raise NotImplementedError("return your Guard")

    async def test_it_is_a_guard(self) -> None:
        assert await broken(self.make(), self.objectionable) == []
