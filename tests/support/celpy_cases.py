"""Record what cel-python says of a table of expressions: `python -m tests.support.celpy_cases` with cel-python installed.

The answers are committed (`tests/unit/dsl/recorded/celpy.json`), so the tests need no such library.
"""

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "unit" / "dsl" / "recorded" / "celpy.json"
STATE = {"score": 7, "mood": "calm", "names": ["Smaug", "Fafnir"], "ready": True, "share": 0.25, "none": None}
TEXTS = """
1 + 2 * 3
-7 / 2
7 / -2
-7 % 2
7 % -2
1 / 0
1 % 0
1.0 / 0.0
9223372036854775807 + 1
-9223372036854775808 - 1
-(-9223372036854775808)
9223372036854775807 * 2
-9223372036854775808 / -1
9223372036854775807 - 1
1.5 + 2.25
0x1F + 1
1e3 > 999.5
2 == 2
'a' + 'b' == 'ab'
'a' < 'b'
'B' < 'a'
"tab\\there" == 'tab\\x09here'
'\\u00e9' == 'é'
'\\U0001F409'.size()
'\\101'
r'\\n'.size()
'''it's'''
'龙'.size()
'abc'.contains('')
'abc'.startsWith('ab') && 'abc'.endsWith('bc')
size([1, 2, 3])
[1, 2, 3][2]
[1, 2, 3][3]
2 in [1, 2, 3]
'x' in ['y', 'z']
[1, 2] == [1, 2]
[1, 2] == [2, 1]
true && false || true
!true
true ? 1 : 2
false ? 1 / 0 : 2
false && 1 / 0 > 0
1 / 0 > 0 && false
1 / 0 > 0 && true
true || 1 / 0 > 0
1 / 0 > 0 || true
1 / 0 > 0 || false
state.score > 3 && state.mood == 'calm'
state.score + 1
state.missing
has(state.missing)
has(state.score)
has(state.missing) && state.missing > 3
state.names[1]
state.names.size()
'Smaug' in state.names
state.names.exists(n, n == 'Smaug')
['Smaug', 'x'].exists(n, n == state.names[0])
['Smaug', 'x'].all(n, n == state.names[0])
state.none == null
'score' in state
state['mood']
state.ready
state.share * 4.0
int(3.9)
int(-3.9)
int('42')
int('x')
double(3)
string(42)
string(true)
message.contains('dragon') && turn > 1
message.size() > 100 ? 'long' : 'short'
turn % 2 == 0
1 < 2 == true
""".strip().splitlines()


def record() -> None:
    import celpy
    from celpy import celtypes

    environment = celpy.Environment()
    facts = {
        "message": celtypes.StringType("a dragon"),
        "turn": celtypes.IntType(4),
        "state": celpy.json_to_cel(STATE),
    }
    found: dict[str, Any] = {}
    for text in TEXTS:
        try:
            value = environment.program(environment.compile(text)).evaluate(facts)
        except celpy.CELEvalError:
            found[text] = "failed"
            continue
        found[text] = {"value": bool(value) if isinstance(value, celtypes.BoolType) else json.loads(json.dumps(value))}
    RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    record()
