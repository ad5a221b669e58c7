"""Settings: unknown names are refused, values are never repeated, secrets are never shown."""

from pathlib import Path

import pytest

from rolehost_api.errors import BadRequest
from rolehost_runtime.gateway.settings import GatewaySettings, UploadSettings, load


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    import os

    for name in [name for name in os.environ if name.startswith("ROLEHOST_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_lists_are_words_between_commas_and_defaults_hold(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("ROLEHOST_ALLOWED_ORIGINS", "https://a.example, https://b.example,")
    environ.setenv("ROLEHOST_ALLOWED_HOSTS", "")
    settings = load(GatewaySettings)
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.allowed_hosts == ()
    assert (settings.port, settings.internal_port, settings.metrics_port) == (8080, 8081, 9090)


def test_a_password_is_not_shown(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("ROLEHOST_REDIS_PASSWORD", "hunter2")
    assert "hunter2" not in repr(load(GatewaySettings))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param({"ROLEHOST_PROT": "1"}, "ROLEHOST_PROT", id="misspelt"),
        pytest.param({"ROLEHOST_GATEWAY_SERVICE_HOST": "x"}, "enableServiceLinks", id="service-links"),
        pytest.param({"ROLEHOST_PORT": "secret"}, "ROLEHOST_PORT", id="no-number"),
        pytest.param(
            {"ROLEHOST_REACH_ALLOWED_CIDRS": "10.0.0.0/8,secret"}, "ROLEHOST_REACH_ALLOWED_CIDRS", id="no-network"
        ),
        pytest.param({"ROLEHOST_REDIS_URL": "redis://:secret@r"}, "ROLEHOST_REDIS_URL", id="password-in-the-url"),
    ],
)
def test_what_is_wrong_is_named_and_not_repeated(
    environ: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    for name, value in given.items():
        environ.setenv(name, value)
    with pytest.raises(BadRequest) as refused:
        load(GatewaySettings)
    assert named in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_upload_service_takes_no_settings_of_the_gateway(environ: pytest.MonkeyPatch) -> None:
    assert load(UploadSettings).bundles_dir == Path("/var/lib/rolehost/bundles")
    environ.setenv("ROLEHOST_REDIS_PASSWORD", "x" * 16)
    with pytest.raises(BadRequest, match="ROLEHOST_REDIS_PASSWORD"):
        load(UploadSettings)
