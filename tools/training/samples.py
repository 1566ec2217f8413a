"""What the model would write by now: a few seeded words, so that a person sees a run go well or ill."""

from __future__ import annotations

import torch

from model.base import Sampling
from model.sampling import choose
from model.tokenizer import Tokenizer
from tools.training.net import Gpt2

PROMPT = "It was"
CHARACTERS = 150


def sample(net: Gpt2, words: Tokenizer, seed: int) -> str:
    """The prompt and some 150 characters after it, or fewer where the text or the context ends."""
    sampling = Sampling(seed=seed)
    ids = [words.end_of_text, *words.encode(PROMPT)]
    while len(ids) < net.shape.n_positions and len(words.decode(ids)) < len(PROMPT) + CHARACTERS:
        with torch.no_grad():
            window = torch.tensor([ids[-net.shape.n_positions :]], device=net.wte.weight.device)
            logits = net.logits(window)[0, -1].cpu().numpy()
        token = choose(logits, sampling, len(ids))
        if token == words.end_of_text:
            break
        ids.append(token)
    return words.decode(ids)
