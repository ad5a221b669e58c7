"""Results for people, as JSON, and as JUnit's XML, which every CI reads."""

import json
import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from rolehost.evals.counting import Result, Run

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def lines(result: Result) -> Iterator[str]:
    """A line a scenario, what was wrong below it, and the whole."""
    for name, runs in _by_scenario(result.runs):
        passed = sum(run.passed for run in runs)
        yield f"{'✓' if passed == len(runs) else '✗'} {name}: {passed} of {len(runs)}"
        for run in runs:
            for fault in run.faults:
                yield f"    seed {run.seed}, {fault}"
    low, high = result.interval
    verdict = "good" if result.good else f"not good: {result.min_pass_rate:.0%} must pass"
    yield (
        f"{result.file}: {result.passed} of {len(result.runs)} runs passed, {result.rate:.1%} "
        f"({low:.1%} to {high:.1%} with 95 % confidence): {verdict}"
    )


def as_json(results: Sequence[Result]) -> str:
    """`passed` says whether the gate is open; rates are from 0 to 1."""
    return json.dumps(
        {
            "v": 1,
            "passed": all(result.good for result in results),
            "files": [
                {
                    "file": result.file,
                    "role": result.role,
                    "passed": result.good,
                    "runs": len(result.runs),
                    "runs_passed": result.passed,
                    "pass_rate": round(result.rate, 6),
                    "interval_95": [round(bound, 6) for bound in result.interval],
                    "min_pass_rate": result.min_pass_rate,
                    "scenarios": [
                        {
                            "name": name,
                            "runs": len(runs),
                            "runs_passed": sum(run.passed for run in runs),
                            "faults": [
                                {"repeat": run.repeat, "seed": run.seed, "faults": list(run.faults)}
                                for run in runs
                                if not run.passed
                            ],
                        }
                        for name, runs in _by_scenario(result.runs)
                    ],
                }
                for result in results
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def as_junit(results: Sequence[Result]) -> str:
    """A suite a file, a case a run."""
    out = ['<?xml version="1.0" encoding="utf-8"?>', "<testsuites>"]
    for result in results:
        failures, seconds = len(result.runs) - result.passed, sum(run.seconds for run in result.runs)
        out.append(
            f"<testsuite name={_attribute(result.file)} tests={_attribute(len(result.runs))} "
            f"failures={_attribute(failures)} time={_attribute(f'{seconds:.3f}')}>"
        )
        for run in result.runs:
            name = run.scenario if run.repeat == 0 else f"{run.scenario} [{run.repeat}]"
            case = f"<testcase classname={_attribute(result.role)} name={_attribute(name)} time={_attribute(f'{run.seconds:.3f}')}"
            if run.passed:
                out.append(f"{case}/>")
            else:
                said = escape(_xml("\n".join(run.faults)))
                out.append(f"{case}><failure message={_attribute(run.faults[0])}>{said}</failure></testcase>")
        out.append("</testsuite>")
    return "\n".join([*out, "</testsuites>"])


def _by_scenario(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.scenario, []).append(run)
    return list(found.items())


def _attribute(value: object) -> str:
    return quoteattr(_xml(str(value)))


def _xml(text: str) -> str:
    """Without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
