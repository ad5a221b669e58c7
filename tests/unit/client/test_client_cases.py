"""The golden cases, on the Python core. rolehost.js runs the same ones in tests/integration/client."""

import pytest
from tests.support.client_cases import cases, expected, run


@pytest.mark.parametrize(("name", "case"), cases().items(), ids=list(cases()))
def test_case(name: str, case: dict[str, object]) -> None:
    got = run(case)
    for number, (step, did) in enumerate(zip(case["steps"], got, strict=True)):  # type: ignore[call-overload]
        assert did["out"] == expected(step), f"{name}, step {number}: {step}"
        assert did["is"] == step.get("is", {}), f"{name}, step {number}: {step}"
