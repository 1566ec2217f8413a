"""Samples of a run: short texts that show the user what the model has learnt, on the display and on the Teletype.

In a dialogue the model continues as one of the speakers, by turns; other texts continue `It was`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol

import torch

from model.generate.detokenizer import Detokenizer
from model.generate.sampling import choose_token
from model.interface import Sampling
from model.onnx.tokenizer import Tokenizer
from tools.train.gpt2 import Gpt2

DEFAULT_PROMPT = "It was"
SAMPLE_CHARACTERS = 150
MAX_PROMPTS = 3  # the most talkative speakers, by turns


def sample_prompts(personas: Collection[str], persona: str = "") -> list[str]:
    """The prompts of samples, used by turns: `persona`, then `personas`, which has the most talkative first."""
    names = dict.fromkeys([*([persona] if persona else []), *personas])
    return [f"{name}:" for name in list(names)[:MAX_PROMPTS]] or [DEFAULT_PROMPT]


def write_sample(net: Gpt2, tokenizer: Tokenizer, seed: int, prompt: str) -> str:
    """The prompt and about 150 characters of the model, fewer if the text or the context ends.

    Only whole characters: bytes that make none are left out.
    """
    sampling, detokenizer, text = Sampling(seed=seed), Detokenizer(), prompt
    ids = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    while len(ids) < net.shape.n_positions and len(text) < len(prompt) + SAMPLE_CHARACTERS:
        with torch.no_grad():
            window = torch.tensor([ids[-net.shape.n_positions :]], device=net.wte.weight.device)
            logits = net.logits(window)[0, -1].cpu().numpy()
        token = choose_token(logits, sampling, len(ids))
        if token == tokenizer.end_of_text:
            break
        ids.append(token)
        text += detokenizer.push(tokenizer.bytes_of(token))
        if detokenizer.finish_reason:
            break
    return text + detokenizer.flush()


class SamplePrinter(Protocol):
    def print_sample(self, step: int, text: str) -> None:
        """Returns at once, never fails."""
        ...


class NullSamplePrinter:
    """Prints nothing."""

    def print_sample(self, step: int, text: str) -> None:
        pass


class TeletypeSamplePrinter:
    """Prints samples in a thread, and reports an error on the display: training goes on without the machine."""

    def __init__(
        self, print_text: Callable[[str], None], print_line: Callable[[str], None], pool: ThreadPoolExecutor
    ) -> None:
        self._print_text, self._print_line, self._pool = print_text, print_line, pool
        self._pending: Future[None] | None = None

    def print_sample(self, step: int, text: str) -> None:
        if self._pending is not None:
            if not self._pending.done():
                return  # the machine is still printing; the next sample will be more recent
            self.wait_and_report()
        self._pending = self._pool.submit(self._print_text, f"-- STEP {step} --\n{text.rstrip()}\n\n")

    def wait_and_report(self) -> None:
        """Waits for the pending sample; reports why it was not printed."""
        if self._pending is not None and (error := self._pending.exception()) is not None:
            self._print_line(f"the sample was not printed: {error}")
        self._pending = None


@contextmanager
def open_sample_printer(port: str | None, print_line: Callable[[str], None]) -> Iterator[SamplePrinter]:
    """A printer for the machine at this line: `-` is the daemon's; None prints nothing. Raises ConfigError."""
    if port is None:
        yield NullSamplePrinter()
        return
    print_text = make_print_function(port)
    with ThreadPoolExecutor(1, "samples") as pool:
        printer = TeletypeSamplePrinter(print_text, print_line, pool)
        try:
            yield printer
        finally:
            with suppress(KeyboardInterrupt):
                printer.wait_and_report()


def make_print_function(port: str) -> Callable[[str], None]:
    """A function that prints a text on the machine at this line. Raises ConfigError."""
    from daemon import config
    from daemon.control import client
    from daemon.control.protocol import PrintJob

    machine_config = config.load_config({"line": {"port": None if port == "-" else port}})

    async def print_text(text: str) -> None:
        async with client.acquire_machine(machine_config) as machine:
            await machine.run_job(PrintJob(text), lambda done, total: None)

    return lambda text: asyncio.run(print_text(text))
