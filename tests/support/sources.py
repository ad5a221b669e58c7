"""What the platform's code says, for tests that hold documents and rules to it."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SOURCE = "\n".join(
    path.read_text() for part in ("runtime", "operator") for path in sorted((REPOSITORY / part).rglob("*.py"))
)


def exported(metric: str) -> bool:
    """The code has that name, without the suffixes of counters and histograms, or makes it of two parts."""
    name = re.sub("_(total|bucket|sum|count)$", "", metric)
    cuts = [found.end() for found in re.finditer("_", name)]
    parts = [(f"{name[:cut]}{{", f'"{name[cut:]}"') for cut in cuts]
    return f'"{name}"' in SOURCE or f'"{metric}"' in SOURCE or any(a in SOURCE and b in SOURCE for a, b in parts)
