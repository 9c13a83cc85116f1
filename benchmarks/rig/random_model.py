"""Makes a language model of a real size with random weights; run with the engine's Python: FOLDER SIZE.

Speed does not depend on what the weights are. Sizes are those of Llama models of 1, 3 and 8 billion parameters, and a
small one for machines without a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tiny_models import learn_words

SIZES = {
    "100m": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}
KV_HEADS = {"100m": 4, "1b": 8, "7b": 8}


def make(folder: Path, size: str) -> None:
    """Write the model, the same weights every time; what stands there is kept."""
    if (folder / "config.json").exists():
        return
    torch.manual_seed(7)
    torch.set_default_dtype(torch.bfloat16)
    words = learn_words()
    config = LlamaConfig(
        vocab_size=32_000,
        num_key_value_heads=KV_HEADS[size],
        max_position_embeddings=8192,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        tie_word_embeddings=False,
        **SIZES[size],
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
