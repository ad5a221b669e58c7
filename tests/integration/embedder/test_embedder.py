"""The embedder as a process, asked as the gateway asks it. The model is the real one."""

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_api.errors import Unavailable
from rolehost_runtime.embedder.minilm import DIMENSIONS, MiniLM, NoModel
from rolehost_runtime.embedder.serving import MAX_TEXTS
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.tables import Tables, Tenant

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'rolehost[embeddings]'")
pytestmark = pytest.mark.timeout(120)
ACME = Tenant("acme", "uid-acme")
NAME = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "rolehost_runtime.embedder"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROLEHOST_PORT": "0"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"on port (\d+)", line)
    assert found, line
    yield int(found.group(1))
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()


async def embed(port: int, *texts: str) -> list[Sequence[float]]:
    tables = Tables()
    served = [ServedModel(name="mini", model=NAME)]
    spec = BackendSpec(type=BackendType.EMBEDDINGS, base_url=f"http://127.0.0.1:{port}/v1", models=served)
    tables.backends.put(("meanings",), spec)
    service = ModelService(HttpProvider(KeyRing(None)), tables, lambda: 0, MemoryLedger())
    try:
        return [list(vector) for vector in await service.embedder.embed(ACME, "meanings", texts)]
    finally:
        await service.close()


def near(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_it_means_what_the_model_is_known_to_mean(port: int) -> None:
    """The figures that its authors publish: 0.666, 0.105 and 0.141."""
    sunny, lovely, stadium = await embed(
        port, "It's so sunny outside!", "The weather is lovely today.", "He drove to the stadium."
    )
    assert [len(one) for one in (sunny, lovely, stadium)] == [DIMENSIONS] * 3
    assert near(lovely, sunny) == pytest.approx(0.666, abs=0.05)
    assert near(lovely, stadium) == pytest.approx(0.105, abs=0.05)
    assert near(sunny, stadium) == pytest.approx(0.141, abs=0.05)


async def test_what_is_nearer_in_meaning_ranks_higher(port: int) -> None:
    known = [
        "Ann is afraid of spiders",
        "Ann works as a nurse in a hospital",
        "Ann's favourite drink is green tea",
        "Ann grew up on a farm in Norway",
        "Ann plays the violin",
    ]
    asked = {
        "What does she fear?": 0,
        "Which job does she have?": 1,
        "What would she like to sip?": 2,
        "Where was her childhood?": 3,
        "Is she a musician?": 4,
    }
    vectors = await embed(port, *known, *asked)
    for question, vector in zip(asked, vectors[len(known) :], strict=True):
        likeness = [near(vector, vectors[place]) for place in range(len(known))]
        assert likeness.index(max(likeness)) == asked[question], question


async def test_vectors_are_of_length_one_and_the_same_whoever_comes_with_them(port: int) -> None:
    texts = ["a dragon", "", "讲一个故事", "\x00\ufeff", "x" * 32_000, "word " * 3000]
    together = await embed(port, *texts)
    alone = [(await embed(port, text))[0] for text in texts]
    assert together == alone
    assert [math.sqrt(near(one, one)) for one in together] == pytest.approx([1.0] * len(texts), abs=1e-5)


async def test_many_at_once_are_all_answered(port: int) -> None:
    answers = await asyncio.gather(*(embed(port, f"memory {number}", "and one more") for number in range(20)))
    assert all(len(one) == 2 for one in answers)


def ask(port: int, body: Any) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", raw)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": ["x"] * (MAX_TEXTS + 1)}, 400),
        ({"input": []}, 400),
        ({"input": "x" * 40_000}, 400),
        ({"input": [1, 2]}, 400),
        ({"model": "gpt-9", "input": "x"}, 404),
        (b"[" * 100_000, 400),
        (b"\xff", 400),
        (b'{"input": "' + b"x" * (5 << 20) + b'"}', 413),
    ],
)
def test_what_cannot_be_is_refused_without_quoting_it(port: int, body: Any, status: int) -> None:
    found, said = ask(port, body)
    assert (found, set(said)) == (status, {"error"})
    assert "xxx" not in said["error"]["message"]
    assert ask(port, {"input": "still there"})[0] == 200


def test_numbers_and_base64_say_the_same(port: int) -> None:
    _, plain = ask(port, {"input": "a dragon", "model": NAME})
    assert len(plain["data"][0]["embedding"]) == DIMENSIONS
    assert plain["usage"]["prompt_tokens"] == 4


async def test_an_embedder_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await embed(1, "x")


def test_a_file_that_is_not_the_model_is_not_run(tmp_path: Any) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not it")
    with pytest.raises(NoModel) as refused:
        MiniLM(tmp_path / "model.onnx")
    assert refused.value.code == "model_not_trusted"
