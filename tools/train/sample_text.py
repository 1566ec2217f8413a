"""What the model would write by now: a few seeded words, so that a person sees a run go well or ill.

Of a dialogue it is asked to go on as one of those who speak there, by turns; any other text begins `It was`.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from model.generate.sampling import choose_token
from model.interface import Sampling
from model.onnx.tokenizer import Tokenizer
from tools.train.gpt2 import Gpt2

DEFAULT_PROMPT = "It was"
SAMPLE_CHARACTERS = 150
MAX_PROMPTS = 3  # who talk most, one sample each and then the first again


def sample_prompts(personas: Collection[str]) -> list[str]:
    """What samples begin with, by turns, given who speaks in the texts, the most talkative first."""
    return [f"{name}:" for name in list(personas)[:MAX_PROMPTS]] or [DEFAULT_PROMPT]


def write_sample(net: Gpt2, tokenizer: Tokenizer, seed: int, prompt: str = DEFAULT_PROMPT) -> str:
    """The prompt and some 150 characters after it, or fewer where the text or the context ends."""
    sampling = Sampling(seed=seed)
    ids = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    while len(ids) < net.shape.n_positions and len(tokenizer.decode(ids)) < len(prompt) + SAMPLE_CHARACTERS:
        with torch.no_grad():
            window = torch.tensor([ids[-net.shape.n_positions :]], device=net.wte.weight.device)
            logits = net.logits(window)[0, -1].cpu().numpy()
        token = choose_token(logits, sampling, len(ids))
        if token == tokenizer.end_of_text:
            break
        ids.append(token)
    return tokenizer.decode(ids)
