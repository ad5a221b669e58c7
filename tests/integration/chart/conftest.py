"""Fixtures of the chart's tests."""

from tests.integration.chart.helm import helm, release

__all__ = ["helm", "release"]
