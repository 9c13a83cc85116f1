"""Scores token rows with a model in transformers: MODEL ROWS.json; prints JSON of log-probabilities and best tokens.

The same that a served engine says of the same rows, for a full-precision model that is not served.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Read rows of token numbers, write for each position but the first its log-probability and the likeliest token."""
    import torch  # noqa: PLC0415 - seconds to import
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model_name, rows = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(model_name, dtype="auto").to(device).eval()
    scored = [score(model, row) for row in rows]
    found = {"logprobs": [each[0] for each in scored], "tops": [each[1] for each in scored]}
    sys.stdout.write(json.dumps(found) + "\n")


def score(model: Any, row: list[int]) -> tuple[list[float], list[int]]:
    """Log-probability of each token given those before it, and the token that was likeliest there."""
    import torch  # noqa: PLC0415

    ids = torch.tensor([row], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, :-1].float()
    scores = torch.log_softmax(logits, dim=-1)
    picked = scores.gather(1, ids[0, 1:, None])[:, 0]
    return picked.tolist(), scores.argmax(dim=-1).tolist()


if __name__ == "__main__":
    main()
