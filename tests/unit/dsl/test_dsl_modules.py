"""What is generated is typed Python that says the same as what runs. mypy reads the golden files with the other tests."""

import ast
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dsl.test_dsl_expressions import EXPRESSIONS, FACTS

from rolehost import Role
from rolehost_api.manifest.reading import read
from rolehost_runtime.core.behavior.stating import bare
from rolehost_runtime.core.dsl.compiled import Compiled
from rolehost_runtime.core.dsl.expressions import Facts, InvalidExpression, compile_value
from rolehost_runtime.core.dsl.expressions.generating import generate
from rolehost_runtime.core.dsl.manifests import behavior_of
from rolehost_runtime.core.dsl.modules import WIDTH, _wrapped, module
from rolehost_runtime.core.dsl.wording import quoted

HERE = Path(__file__).parent
GOLDEN = HERE / "generated"
CASES = {"good": "tutor", "strange-names": "9-strange"}


def compiled(case: str) -> Compiled:
    text = (HERE / "cases" / f"{case}.yaml").read_text()
    (document,) = read(text)
    outcome = behavior_of(document, text)
    assert outcome is not None
    assert outcome.findings == []
    return outcome.compiled


def loaded(source: str, tmp_path: Path) -> ModuleType:
    file = tmp_path / "made.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("made", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(("case", "role"), CASES.items())
def test_the_module_and_its_stub_are_those_in_the_repository(case: str, role: str) -> None:
    """Set ROLEHOST_RECORD=1 to write down what is generated now."""
    made = module(role, compiled(case))
    for file, text in ((GOLDEN / f"{made.name}.py", made.source), (GOLDEN / "stubs" / f"{made.name}.pyi", made.stub)):
        if os.environ.get("ROLEHOST_RECORD"):
            file.write_text(text)
        assert file.read_text() == text


@pytest.mark.parametrize(("case", "role"), CASES.items())
@pytest.mark.parametrize(
    "facts",
    [
        Facts(message="a test", turn=4, node="Explain", state={"score": 5}, user_state={"self": True, "Facts": ["x"]}),
        Facts(message='"""', user="it's", turn=2, state={"score": "x"}, user_state={"self": False, "Facts": []}),
        Facts(message="a bye!", turn=9, user_state={"mood": "glad"}),
    ],
)
def test_the_module_says_what_the_tables_say(case: str, role: str, facts: Facts, tmp_path: Path) -> None:
    runs = compiled(case)
    made = loaded(module(role, runs).source, tmp_path)
    assert runs.behavior == made.BEHAVIOR
    assert {text: ask(facts) for text, ask in made.CONDITIONS.items()} == {
        text: predicate.judge(facts) for text, predicate in runs.predicates.items()
    }
    assert [(key, ask(facts)) for key, ask in made.CHANGES.items()] == [
        ((one.subgraph, one.node, one.moment, one.field), one.value.value(facts)) for one in runs.changes
    ]


def test_its_states_are_those_that_run(tmp_path: Path) -> None:
    runs = compiled("good")
    made = loaded(module("tutor", runs).source, tmp_path)
    role = bare("tutor", runs)
    assert role.user_state is not None
    assert made.TutorState().__struct_fields__ == role.state().__struct_fields__
    assert made.TutorState().score == role.state().score == 1
    assert made.TutorUserState().mood == getattr(role.user_state(), "mood", None) == "calm"
    assert Role("tutor", state=made.TutorState, user_state=made.TutorUserState).user_state is made.TutorUserState


def test_a_role_without_behaviour_is_an_empty_module(tmp_path: Path) -> None:
    made = module("cat", Compiled())
    assert made.name == "cat_behavior"
    loaded(made.source, tmp_path)


def test_a_name_or_text_never_leaves_its_quotes(tmp_path: Path) -> None:
    source = module("9-strange", compiled("strange-names")).source
    loaded(source, tmp_path)
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert 'She says "it\'s \\ fine".' in texts
    assert "Zwei\nZeilen \u2028 龙 \x07" in texts
    assert all(line.isprintable() for line in source.splitlines())


@given(st.text(max_size=20))
def test_a_quoted_text_is_one_line_that_means_the_text(text: str) -> None:
    assert ast.literal_eval(quoted(text)) == text
    assert len(quoted(text).splitlines()) == 1


@given(EXPRESSIONS, st.integers(8, WIDTH), FACTS)
def test_an_expression_that_is_broken_into_lines_is_the_same(text: str, indent: int, facts: Facts) -> None:
    try:
        found = compile_value(text)
    except InvalidExpression:
        return
    source = generate(found.tree, found.types, quoted)
    broken = "\n".join(_wrapped(source, " " * indent))
    assert ast.dump(ast.parse(f"(\n{broken}\n)")) == ast.dump(ast.parse(f"({source})"))
