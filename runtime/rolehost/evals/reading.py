"""A file of scenarios → what to play; everything that is wrong with it at once, each in its place."""

import re
from typing import Any

import msgspec

from rolehost.evals.forms import EvalForm
from rolehost_api.errors import Finding, InvalidManifest
from rolehost_api.manifest.reading import read
from rolehost_runtime.core.dsl.expressions.checking import meant
from rolehost_runtime.core.dsl.places import Source
from rolehost_runtime.core.dsl.reading import Reader, Unusable, form

FINISH_REASONS = ("stop", "length", "content_filter")
KINDS = ("short", "long", "rel")
_FORM = form(EvalForm)


def load(text: str, filename: str = "eval.yaml") -> EvalForm:
    """The scenarios of a file. Raises InvalidManifest with all that is wrong."""
    findings, plain = _read(text)
    if findings or plain is None:
        raise InvalidManifest(filename, findings)
    return msgspec.convert(plain, EvalForm)


def check(text: str) -> list[Finding]:
    """What is wrong, in the order of its lines; empty where nothing is."""
    return _read(text)[0]


def _read(text: str) -> tuple[list[Finding], Any]:
    try:
        nodes = read(text)
    except InvalidManifest as invalid:
        return list(invalid.findings), None
    if len(nodes) != 1:
        return [Finding("eval", f"has {len(nodes)} documents", "Write one file for each Role", 1)], None
    reader = Reader(Source(text), "eval")
    try:
        plain = reader.read(nodes[0], _FORM)
    except Unusable:
        return _sorted(reader), None
    _check(reader, plain)
    return _sorted(reader), plain


def _sorted(reader: Reader) -> list[Finding]:
    return sorted(reader.findings, key=lambda one: (one.line or 0, one.column or 0))


def _check(reader: Reader, plain: dict[str, Any]) -> None:
    seen: set[str] = set()
    for number, scenario in enumerate(plain.get("scenarios", ())):
        if scenario is None:
            continue
        path = f"scenarios[{number}]"
        name = scenario.get("name", "")
        if name in seen:
            reader.say(
                "duplicate", f"{path}.name", f"is the name of another: {name[:64]!r}", "Reports tell them apart by it"
            )
        seen.add(name)
        for place, turn in enumerate(scenario.get("turns", ())):
            if turn is not None:
                _expected(reader, turn.get("expect", {}), f"{path}.turns[{place}].expect")
        expected = any(turn and turn.get("expect") for turn in scenario.get("turns", ()))
        if not expected and path not in reader.broken:
            reader.say(
                "nothing_expected", path, "expects nothing: it could only fail by an error", "Give a turn expect"
            )


def _expected(reader: Reader, expect: dict[str, Any], path: str) -> None:
    for place, pattern in enumerate(expect.get("regex", ())):
        try:
            re.compile(pattern or "")
        except (re.error, RecursionError) as wrong:
            message = f"is no regular expression: {wrong}"
            reader.say("invalid_regex", f"{path}.regex[{place}]", message, r"Write \. for a dot, in single quotes")
    _one_of(reader, expect.get("finishReason", ""), f"{path}.finishReason", FINISH_REASONS)
    _one_of(reader, expect.get("memory", {}).get("kind", ""), f"{path}.memory.kind", KINDS)
    step = expect.get("transition")
    if step is not None and not (step.get("from") or step.get("to")):
        reader.say("nothing_expected", f"{path}.transition", "names no node", "Write from, to, or both")
    judge = expect.get("judge")
    if judge is not None and not judge.get("rubric", "").strip():
        reader.say("nothing_expected", f"{path}.judge", "has no rubric", "Write what a good reply is")
    if expect.get("error") and expect.keys() - {"error", "latencyMs"}:
        reader.say(
            "contradiction",
            f"{path}.error",
            "is expected beside what a failed turn does not have",
            "Keep one of the two",
        )
    for text in sorted(
        {one for one in expect.get("contains", ()) if one} & {one for one in expect.get("notContains", ()) if one}
    ):
        reader.say(
            "contradiction",
            f"{path}.notContains",
            f"forbids {text[:64]!r}, which contains demands",
            "Keep one of the two",
        )


def _one_of(reader: Reader, value: str, path: str, words: tuple[str, ...]) -> None:
    if value and value not in words:
        reader.say("unknown_word", path, f"must be {' or '.join(words)}", meant(value, words))
