"""Makes tiny language models with random weights, on the spot; run with the engine's Python: FOLDER NAME [NAME …].

Names: bf16, draft (smaller, same words), w4a16, w8a8 (both quantised from bf16). What stands in the folder is kept.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
WORDS = 2048
SIZES = {"bf16": (256, 4), "draft": (64, 1)}
SCHEMES = {"w4a16": "W4A16", "w8a8": "W8A8"}


def make(folder: Path, name: str) -> Path:
    """The folder of the model of this name."""
    made = folder / name
    if (made / "config.json").exists():
        return made
    draft = folder / f"{name}.{os.getpid()}.tmp"
    if name in SCHEMES:
        quantise(make(folder, "bf16"), draft, SCHEMES[name])
    else:
        write(draft, *SIZES[name])
    draft.rename(made)
    return made


def write(folder: Path, width: int, layers: int) -> None:
    """A Llama of this width with random weights; the same ones every time."""
    torch.manual_seed(7)
    words = learn_words()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width // 4 if width >= 256 else 32,
        max_position_embeddings=4096,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    words.save_pretrained(folder)


def learn_words() -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer learned from the sources of this repository."""
    root = Path(__file__).resolve().parents[1]
    sources = sorted(str(path) for path in (root / "backend").rglob("*.py"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train(sources, trainer)
    learnt = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[1])
    learnt.chat_template = TEMPLATE
    return learnt


def quantise(source: Path, folder: Path, scheme: str) -> None:
    """A copy with its weights rounded as the scheme says; needs no data."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    recipe = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
    oneshot(model=model, recipe=recipe)
    model.save_pretrained(folder, save_compressed=True)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


if __name__ == "__main__":
    for each in sys.argv[2:]:
        sys.stdout.write(f"{make(Path(sys.argv[1]), each)}\n")
