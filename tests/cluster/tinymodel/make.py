"""Write the tiny model: a llama of two layers with random weights and a vocabulary of bytes and made-up words.

What it says means nothing. What matters is that a real server loads it and speaks the OpenAI wire, streaming, in a
megabyte. Words outnumber bytes by far: random bytes are rarely text, and a server holds them back until they are. The seed is fixed, so that the file is the same everywhere. Needs `gguf` and `numpy`; usage: make.py FILE.
"""

# mypy: disable-error-code="import-not-found"
import sys
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT = 2, 64, 4, 128, 2048
CONTROL = [b"<unk>", b"<s>", b"</s>"]
BYTES = [f"<0x{value:02X}>".encode() for value in range(256)]
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
WORDS = [f"▁{first}{last}".encode() for first in SYLLABLES for last in SYLLABLES][::3]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def describe(model: gguf.GGUFWriter) -> None:
    """The architecture's numbers and the vocabulary, as a loader wants them."""
    model.add_name("tiny-random")
    model.add_context_length(CONTEXT)
    model.add_embedding_length(WIDTH)
    model.add_block_count(LAYERS)
    model.add_feed_forward_length(HIDDEN)
    model.add_head_count(HEADS)
    model.add_head_count_kv(HEADS)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_rope_dimension_count(WIDTH // HEADS)
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * len(BYTES) + [gguf.TokenType.NORMAL] * len(WORDS)
    model.add_vocab_size(len(kinds))
    model.add_tokenizer_model("llama")
    model.add_token_list([*CONTROL, *BYTES, *WORDS])
    model.add_token_scores([0.0] * len(kinds))
    model.add_token_types(kinds)
    model.add_bos_token_id(1)
    model.add_eos_token_id(2)
    model.add_unk_token_id(0)
    model.add_chat_template(TEMPLATE)


def fill(model: gguf.GGUFWriter, random: np.random.Generator) -> None:
    """Every tensor that the architecture has: norms are ones, the rest is small noise."""

    def noise(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) * 0.05).astype(np.float32)

    def ones() -> NDArray[np.float32]:
        return np.ones(WIDTH, np.float32)

    vocabulary = len(CONTROL) + len(BYTES) + len(WORDS)
    model.add_tensor("token_embd.weight", noise(vocabulary, WIDTH))
    model.add_tensor("output.weight", noise(vocabulary, WIDTH))
    model.add_tensor("output_norm.weight", ones())
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            model.add_tensor(f"blk.{layer}.{name}.weight", ones())
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            model.add_tensor(f"blk.{layer}.{name}.weight", noise(WIDTH, WIDTH))
        for name in ("ffn_gate", "ffn_up"):
            model.add_tensor(f"blk.{layer}.{name}.weight", noise(HIDDEN, WIDTH))
        model.add_tensor(f"blk.{layer}.ffn_down.weight", noise(WIDTH, HIDDEN))


def main() -> None:
    target = Path(sys.argv[1])
    fresh = target.with_suffix(".new")
    model = gguf.GGUFWriter(fresh, "llama")
    describe(model)
    fill(model, np.random.default_rng(0))
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()
    fresh.replace(target)


if __name__ == "__main__":
    main()
