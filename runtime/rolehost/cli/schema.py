"""`python -m rolehost.cli.schema [--check]`: write the schemas in docs/reference, or say that they are not what the types say."""

import json
import sys
from pathlib import Path
from typing import Any

from rolehost.evals.schema import schema as eval_schema
from rolehost_runtime.core.dsl.schema import schema

SCHEMA = Path("docs/reference/role.schema.json")
EVAL_SCHEMA = Path("docs/reference/eval.schema.json")


def rendered() -> str:
    return _text(schema())


def rendered_eval() -> str:
    return _text(eval_schema())


def _text(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    files = {SCHEMA: rendered(), EVAL_SCHEMA: rendered_eval()}
    stale = [file for file, text in files.items() if not (file.exists() and file.read_text() == text)]
    if arguments == ["--check"]:
        for file in stale:
            sys.stderr.write(f"{file} is not what the types say; run `make render`\n")
        return 1 if stale else 0
    for file in stale:
        file.write_text(files[file])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
