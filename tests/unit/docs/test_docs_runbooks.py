"""Every alert has a page, and what a page tells people to do or to look at is there."""

import re
import shlex
import tomllib
from importlib import import_module

import click
import pytest
import yaml
from tests.support.sources import REPOSITORY, SOURCE, exported

from rolehost.cli import COMMANDS
from rolehost_dashboards.rules import GROUPS, alerts
from rolehost_dashboards.rules.shape import Record

FOLDER = REPOSITORY / "docs" / "runbooks"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
RECORDED = {rule.name for group in GROUPS for rule in group.rules if isinstance(rule, Record)}
PLUGINS: dict[str, str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]["rolehost.commands"]  # fmt: skip
CHART = "\n".join(path.read_text() for path in sorted((REPOSITORY / "charts").rglob("*.yaml")))
KINDS = {
    "configmaps", "crd", "deployment", "events", "hostedrole", "hostedrolerevisions", "hostedroles", "lease",
    "modelbackends", "namespaces", "networkpolicies", "pods", "prometheusrules", "servicemonitors", "services",
    "validatingadmissionpolicies",
}  # fmt: skip
PARTS = ["**Means.**", "**Impact.**", "## First", "## How it ends", "## Not"]
OF_PROMETHEUS = {"prometheus_rule_evaluation_failures_total", "prometheus_rule_group_last_duration_seconds", "prometheus_tsdb_head_series"}  # fmt: skip


def test_every_alert_has_a_page_and_no_page_is_left_over() -> None:
    assert set(PAGES) == set(alerts())


@pytest.mark.parametrize("page", PAGES)
def test_it_has_its_parts_in_their_order(page: str) -> None:
    text = PAGES[page]
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    assert text.startswith(f"# {page}\n")


def first(page: str) -> list[str]:
    block: str
    (block,) = re.findall(r"## First\n\n```bash\n(.*?)\n```", PAGES[page], re.DOTALL)
    return block.splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_it_begins_with_three_commands(page: str) -> None:
    assert len(first(page)) == 3


def said(page: str) -> list[list[str]]:
    """Every command of a page, as words; those of its sentences too."""
    inline = re.findall(r"`((?:rolehost|kubectl|promtool|redis-cli|helm) [^`]+)`", PAGES[page])
    return [shlex.split(line) for line in [*first(page), *inline]]


def command(words: list[str]) -> click.Command:
    name = words[1]
    found = COMMANDS[name][0] if name in COMMANDS else PLUGINS[name]
    module, attribute = found.split(":")
    it: click.Command = getattr(import_module(module), attribute)
    for word in words[2:]:
        if not isinstance(it, click.Group):
            break
        it = it.commands[word]
    return it


def test_every_command_is_one_that_there_is() -> None:
    for page in PAGES:
        for words in said(page):
            match words[0]:
                case "rolehost":
                    options = {name for given in command(words).params for name in given.opts}
                    assert {word for word in words if word.startswith("-")} <= options, (page, words)
                case "kubectl":
                    known(page, words)
                case "promtool":
                    assert words[1:3] in (["query", "instant"], ["check", "rules"]), (page, words)
                case "redis-cli":
                    assert words[1:3] == ["config", "set"], (page, words)
                case "helm":
                    assert words[1] in ("upgrade", "rollback"), (page, words)
                case other:
                    pytest.fail(f"{page}: {other}")


def known(page: str, words: list[str]) -> None:
    """Verb and kinds; what is picked by a label or named in the platform's namespace is in the chart."""
    rest = words[3:] if words[1] == "-n" else words[1:]
    verb = rest[0]
    assert verb in ("get", "describe", "logs", "exec", "patch", "delete"), (page, words)
    if verb in ("get", "describe", "patch", "delete") and rest[1] != "--raw":
        assert set(rest[1].split(",")) <= KINDS, (page, words)
    for label in re.findall(r"app\.kubernetes\.io/component=(\w+)", " ".join(words)):
        assert f'"component" "{label}"' in CHART, (page, words)
    for name in re.findall(r"rolehost-[a-z]+(?!-?[a-z]*=)", " ".join(words[3:])):
        assert name in CHART + SOURCE + (REPOSITORY / "charts/rolehost/templates/_names.tpl").read_text(), (page, words)


def test_what_is_looked_at_is_exported() -> None:
    for page, text in PAGES.items():
        for name in re.findall(r"(?<![\w:])rolehost_[a-z_0-9]+", text):
            assert exported(name), (page, name)
        for name in re.findall(r"rolehost:[a-z_0-9:]+", text):
            assert name in RECORDED, (page, name)
        for name in re.findall(r"prometheus_[a-z_]+", text):
            assert name in OF_PROMETHEUS, (page, name)


def test_codes_and_settings_are_those_of_the_code() -> None:
    values = yaml.safe_load((REPOSITORY / "charts/rolehost/values.yaml").read_text())
    for page, text in PAGES.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", prose):
            assert code in SOURCE, (page, code)
        for path in re.findall(r"`((?:admission|archive|gateway|operator|redis|sessions)\.[A-Za-z.]+)`", prose):
            part = values
            for word in path.split("."):
                if isinstance(part, dict) and word not in part:
                    assert f"{re.sub('([A-Z])', lambda found: '_' + found[1].lower(), word)}:" in SOURCE, (page, path)
                    break
                part = part[word]


def test_links_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (FOLDER / link).resolve().is_file(), (page, link)
