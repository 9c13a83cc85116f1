"""Quantises a model with llmcompressor: MODEL OUT --scheme SCHEME [--text FILE]; prints JSON lines of progress.

W4A16, W8A8 (without --text) and FP8 round the weights and need no data; GPTQ and AWQ calibrate on a text file, as W8A8
does with one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

SCHEMES = ("W4A16", "W8A8", "GPTQ", "AWQ", "FP8")
CALIBRATED = {"GPTQ", "AWQ"}


def main() -> None:
    """Quantise as the command line says; the last line says where the result stands."""
    options = _read_options()
    if options.scheme in CALIBRATED and options.text is None:
        sys.exit(f"{options.scheme} needs a text file to calibrate on")
    _follow_bars()
    tell("loading", 0, 1)
    import torch  # noqa: PLC0415 - seconds to import: what is wrong with the options is said first
    from llmcompressor import oneshot  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    torch.manual_seed(1)
    if not torch.cuda.is_available():
        _pin_nothing()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto", device_map=_device_map())
    data: dict[str, Any] = {}
    if options.text is not None:
        rows = read_rows(options.text, tokenizer, options.samples, options.length)
        data = {"dataset": rows, "num_calibration_samples": len(rows), "max_seq_length": options.length}
        data |= {"tokenizer": tokenizer}
    oneshot(model=model, recipe=make_recipe(options.scheme), **data)
    tell("saving", 0, 1)
    model.save_pretrained(options.out, save_compressed=True)
    tokenizer.save_pretrained(options.out)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    tell("done", 1, 1, out=str(options.out), bytes=size)


def make_recipe(scheme: str) -> Any:
    """The modifier of a scheme; the output head stays as it is."""
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier  # noqa: PLC0415
    from llmcompressor.modifiers.transform.awq import AWQModifier  # noqa: PLC0415

    kept = {"targets": "Linear", "ignore": ["lm_head", "re:.*mlp.gate$"]}
    if scheme == "GPTQ":
        return GPTQModifier(scheme="W4A16", **kept)
    if scheme == "AWQ":
        return [AWQModifier(), QuantizationModifier(scheme="W4A16_ASYM", **kept)]
    return QuantizationModifier(scheme="FP8_DYNAMIC" if scheme == "FP8" else scheme, **kept)


def read_rows(path: Path, tokenizer: Any, samples: int, length: int) -> Any:
    """A text file as token rows of one length, evenly spread over it. Ends the program on a text that is too short."""
    from datasets import Dataset  # noqa: PLC0415 - as above

    tokens = tokenizer(path.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    pieces = [tokens[start : start + length] for start in range(0, len(tokens) - 1, length)]
    if not pieces:
        sys.exit(f"{path} holds no text to calibrate on")
    step = max(len(pieces) // samples, 1)
    chosen = pieces[::step][:samples]
    return Dataset.from_dict({"input_ids": chosen, "attention_mask": [[1] * len(piece) for piece in chosen]})


def tell(stage: str, done: int, total: int, **more: Any) -> None:
    """One line of progress for whoever started this."""
    sys.stdout.write(json.dumps({"stage": stage, "done": done, "total": total, **more}) + "\n")
    sys.stdout.flush()


def _pin_nothing() -> None:
    """Memory is pinned for a GPU; without one torch refuses to, and AWQ asks it to whatever there is."""
    from llmcompressor.pipelines.cache import IntermediatesCache  # noqa: PLC0415

    IntermediatesCache.pin_memory = lambda *_, **__: None


def _follow_bars() -> None:
    """What llmcompressor shows as bars becomes lines of progress."""
    from importlib import import_module  # noqa: PLC0415

    def display(bar: Any, *_: Any, **__: Any) -> None:
        if bar.total:
            tell((bar.desc or "working").rstrip(": "), int(bar.n), int(bar.total))

    import_module("tqdm.std").tqdm.display = display


def _device_map() -> str | None:
    import torch  # noqa: PLC0415

    return "auto" if torch.cuda.is_available() else None


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--scheme", choices=SCHEMES, required=True)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    return parser.parse_args()


if __name__ == "__main__":
    main()
