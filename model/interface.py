"""What a model is to the rest of the house: text in, pieces of text out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

END_OF_TEXT = "<|endoftext|>"
SHAPE_KEY = "asr33.shape"  # where a graph's own metadata has the Shape, as JSON
HEAD_SIZE_MULTIPLE = 8  # GroupQueryAttention takes heads of so many numbers, or a multiple

# The least and the most that each number of a Sampling may be, for whoever takes one from a person.
SAMPLING_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_k": (0, 1_000_000),
    "top_p": (1e-6, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "no_repeat_ngram": (0, 1_000_000),
    "seed": (0, 2**63 - 1),
    "max_tokens": (1, 1_000_000),
    "length": (1, 1_000_000),
}
THREAD_RANGE = (0, 256)  # 0 leaves the choice to the machine

DeviceChoice = Literal["auto", "cpu", "cuda"]
FinishReason = Literal["end", "stop", "sentence", "length", "context"]
Notice = Literal["local", "no server"]


@dataclass(frozen=True, slots=True)
class GPT2Config:
    """The size of a GPT-2, in the words of its `config.json`. Raises ValueError for one that cannot be."""

    vocab_size: int
    n_positions: int = 512
    n_embd: int = 256
    n_layer: int = 5
    n_head: int = 4

    def __post_init__(self) -> None:
        for key, number in asdict(self).items():
            if type(number) is not int or number < 1:
                raise ValueError(f"{key} is {number!r}, not a whole number above zero")
        if self.n_embd % self.n_head:
            raise ValueError(f"{self.n_head} heads do not divide the width {self.n_embd}")

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def parameters(self) -> int:
        """Numbers in the model; the head is the embedding and counts once."""
        block = 12 * self.n_embd**2 + 13 * self.n_embd
        return (self.vocab_size + self.n_positions + 2) * self.n_embd + self.n_layer * block


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn and where it ends.

    `temperature` 0 takes the likeliest token. `top_k` 0, `top_p` 1 and `min_p` 0 leave all tokens in; `min_p` leaves
    out those less likely than this share of the likeliest. `no_repeat_ngram` N lets no N tokens come twice in the
    same order, 0 all. After `length` characters the answer ends with the sentence it is in; `max_tokens` cuts it
    wherever it is. `logprobs` asks for `Piece.logprobs`.
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.1
    no_repeat_ngram: int = 0
    seed: int = 33
    max_tokens: int = 1024
    length: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Whole characters that came with one or more tokens; the last piece says how it ended, maybe with no text.

    `made` is when the last of its tokens existed, in seconds of the monotonic clock. `logprobs`, where asked for, has
    the natural logarithm of each token's probability as the model has it: of the tokens that the mask allows, before
    penalty, temperature and all other filters. `forgotten`: so many characters, the oldest of prompt and answer, had
    gone before it, because the context was full. `notice` is for the reader, before the text: that from here on the
    model of this machine answers, or for now none at all.
    """

    text: str
    tokens: tuple[int, ...]
    created_at: float
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] = ()
    dropped_chars: int = 0
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What a server is asked for: the continuation of a prompt, for one reader among many.

    `said` are the tokens of this answer that were made before: it goes on behind them as it would have. `alphabet`
    names the characters that may come, empty all. `pace` is how many characters a second the reader prints, 0 as
    fast as they come. `conversation`, any text, is the same for all turns of one, whose cache they may share.
    """

    prompt: str
    sampling: Sampling
    resume_tokens: tuple[int, ...] = ()
    alphabet: str = ""
    chars_per_second: float = 0.0
    conversation: str = ""


class Model(Protocol):
    """The embedded model, one on disk, or one at a URL."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str:
        """Where it runs, for a log; empty until it is ready."""
        ...

    @property
    def context(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        ...

    async def wait_ready(self) -> None:
        """Return when the model can answer. Raises ModelError if it never will."""
        ...

    def prefill(self, prompt: str) -> None:
        """So far has this prompt been typed: what is settled of it may be read before it is asked for.

        Returns at once, never fails, and may be called at every key: the newest counts. Answers go first.
        """
        ...

    def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        """The continuation of the prompt; closing the generator ends the work within one step.

        Raises ModelError, PromptTooLong among them, before the first piece.
        """
        ...

    async def close(self) -> None: ...
