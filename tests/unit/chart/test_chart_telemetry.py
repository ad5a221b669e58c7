"""The Collector's configuration lets through what gateways say, and nothing else."""

import re
from pathlib import Path

from rolehost_runtime.gateway.tracing.spans import ALLOWED, CONTENT, NAMES

CONFIG = (Path(__file__).parents[3] / "charts/rolehost/templates/telemetry/_config.tpl").read_text()


def defined(name: str) -> str:
    """What a template of that name says."""
    return CONFIG.split(f'{{{{- define "{name}" -}}}}', 1)[1].split("{{- define", 1)[0]


def test_every_attribute_of_a_span_is_allowed_and_no_other() -> None:
    before, _, where_content_is_kept = defined("rolehost.spanAttributes").partition(
        "{{- if .Values.telemetry.content }}"
    )
    assert set(re.findall(r"^- (\S+)$", before, re.M)) == ALLOWED
    assert set(re.findall(r"^- (\S+)$", where_content_is_kept, re.M)) == CONTENT


def test_every_name_of_a_span_is_known_and_no_other() -> None:
    pattern = defined("rolehost.spanNames").partition("{{- end }}")[0]
    found = re.fullmatch(r"\^\((.+)\)\$", pattern)
    assert found is not None
    assert tuple(found[1].replace("\\.", ".").split("|")) == NAMES
