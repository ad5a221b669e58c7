"""What holds for every guard, whoever wrote it; run it on your own: `faults = await broken(MyGuard())`.

Pure but for what the guard itself does. An empty list: it is a guard.
"""

import re

from rolehost_runtime.core.safety.guards import Guard, Stage, invalid

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SECRET = "xyzzy-plugh-4711"
"""A word that no error may repeat."""
STAGES: tuple[Stage, ...] = ("input", "output")
TEXTS = (
    "",
    " ",
    "hello",
    "从前有一条龙。",
    "\u200b\u202e\x00",
    "a" * 20_000,
    f"my word is {SECRET}",
    "ſtraße e\u0301 🐉",
)


async def broken(guard: Guard, objectionable: str = "") -> list[str]:
    """What `guard` does otherwise than a guard does, in sentences. `objectionable`: a text that it must have something
    against; empty: none is known."""
    found: list[str] = []
    if not NAME.fullmatch(guard.name):
        found.append(f"its name {guard.name[:64]!r} is no DNS label")
    for stage in STAGES:
        for text in (*TEXTS, objectionable):
            try:
                first, again = list(await guard.judge(stage, text)), list(await guard.judge(stage, text))
            except Exception as error:
                if SECRET in f"{error}" or SECRET in repr(error):
                    found.append("its error repeats what it was shown")
                found.append(f"it failed on a text of {len(text)} characters with {type(error).__name__}")
                continue
            if first != again:
                found.append(f"it judged the same text of {len(text)} characters in two ways")
            if fault := invalid(first, text):
                found.append(f"{fault}, in a text of {len(text)} characters")
    if objectionable and not any([await guard.judge(stage, objectionable) for stage in STAGES]):
        found.append("it has nothing against what it must have something against")
    return list(dict.fromkeys(found))
