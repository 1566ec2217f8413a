"""The interface of every model, local or remote: a prompt in, chunks of text out. Imports nothing of asr33."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol

END_OF_TEXT = "<|endoftext|>"
SHAPE_KEY = "asr33.shape"  # key of the GPT2Config, as JSON, in the metadata of an ONNX graph
MAX_SIZE = 2**31 - 1  # of a GPT2Config
HEAD_SIZE_MULTIPLE = 8  # GroupQueryAttention needs a head size that is a multiple of this

ANSWER_LENGTH = 600  # characters after which an answer ends with its sentence, at the machine and in `asr33 ask`

THREAD_RANGE = (0, 256)  # 0: model.onnx.cpu chooses

DeviceChoice = Literal["auto", "cpu", "cuda"]
FinishReason = Literal["end", "stop", "sentence", "length", "context"]
Notice = Literal["local", "no server"]
Opening = Literal["any", "word", "new word", "message"]
TopLogprobs = tuple[tuple[int, float], ...]  # token and logprob, the likeliest first


@dataclass(frozen=True, slots=True)
class GPT2Config:
    """The size of a GPT-2; the fields are those of its `config.json`. Raises ValueError for an impossible size."""

    vocab_size: int
    n_positions: int = 512
    n_embd: int = 256
    n_layer: int = 5
    n_head: int = 4

    def __post_init__(self) -> None:
        for key, number in asdict(self).items():
            if type(number) is not int or number < 1:
                raise ValueError(f"{key} is {number!r}, not a whole number above zero")
            if number > MAX_SIZE:
                raise ValueError(f"{key} is over {MAX_SIZE:,}")
        if self.n_embd % self.n_head:
            raise ValueError(f"{self.n_head} heads do not divide the width {self.n_embd}")

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def parameters(self) -> int:
        """Number of parameters; the head shares the embedding, which counts once."""
        block = 12 * self.n_embd**2 + 13 * self.n_embd
        return (self.vocab_size + self.n_positions + 2) * self.n_embd + self.n_layer * block


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number of `SamplingParameters`, as the commands, the configuration and the HTTP protocol see it.

    `json_names` are its keys in a request: a client writes all of them, a server reads the first that is present.
    `absent` is the value of a request without the key. With `is_extension` the key is in the request's object "asr33",
    which other servers ignore.
    """

    kind: type[int] | type[float]
    bounds: tuple[float, float]
    help: str
    metavar: str
    json_names: tuple[str, ...]
    absent: float | None
    is_extension: bool


def _parameter(
    default: float | None,
    bounds: tuple[float, float],
    help: str,
    metavar: str = "N",
    *,
    absent: float | None = None,
    json_names: tuple[str, ...] = (),
    is_extension: bool = False,
) -> Any:
    """Declares a field: a whole number unless the default is a float. `json_names` defaults to the field's name."""
    kind = float if isinstance(default, float) else int
    info = Parameter(kind, bounds, help, metavar, json_names, absent, is_extension)
    return field(default=default, metadata={"help": help, "range": bounds, "parameter": info})


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How tokens are drawn and where an answer ends. No other place declares a parameter.

    The flags of the commands, the keys of [answer] and the fields of a request follow from this class.
    """

    length: int | None = _parameter(
        None, (1, 1_000_000), "characters after which an answer ends with its sentence", is_extension=True
    )
    max_tokens: int = _parameter(1024, (1, 1_000_000), "tokens after which an answer ends in any case", absent=16)
    temperature: float = _parameter(0.7, (0, 100), "randomness; 0 takes the likeliest token each time", "T", absent=1.0)
    top_p: float = _parameter(
        1.0, (1e-6, 1), "draw from the likeliest tokens that together have probability P; 1: all", "P", absent=1.0
    )
    top_k: int = _parameter(40, (0, 1_000_000), "draw from the K likeliest tokens; 0: all", "K", absent=0)
    min_p: float = _parameter(
        0.0, (0, 1), "draw from tokens at least P times as likely as the likeliest; 0: all", "P", absent=0.0
    )
    repetition_penalty: float = _parameter(
        1.1,
        (0.01, 100),
        "divide the score of tokens that came before by R; 1: off",
        "R",
        absent=1.0,
        json_names=("repetition_penalty", "repeat_penalty"),  # of vLLM and of llama.cpp
    )
    no_repeat_ngram: int = _parameter(
        0, (0, 1_000_000), "let no N tokens come twice in the same order; 0: off", absent=0, is_extension=True
    )


@dataclass(frozen=True, slots=True)
class Sampling(SamplingParameters):
    """The parameters of one answer. It ends before any text in `stop`.

    `logprobs` requests `TextChunk.logprobs`, and `top_logprobs` the logprobs of so many likeliest tokens beside each.
    `opening` says how the answer may begin: in any way, even in the middle of a word; with a word, which may join the
    prompt's end; with a blank and a word; as a chat message.
    """

    seed: int = _parameter(33, (0, 2**63 - 1), "seed of the random choice; the same seed gives the same text")
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int = 0
    opening: Opening = "any"


PARAMETERS: dict[str, Parameter] = {
    item.name: replace(parameter, json_names=parameter.json_names or (item.name,))
    for item in fields(Sampling)
    if (parameter := item.metadata.get("parameter"))
}


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Whole characters of one or more tokens. The last chunk has a `finish_reason`, and sometimes no text.

    `created_at` is the time of its last token, in seconds of the monotonic clock. `logprobs` has the natural logarithm
    of each token's probability among the tokens that the mask allows, before penalty, temperature and the other
    filters; `top_logprobs` has the same of the likeliest tokens, for each token of a model in this process.
    `dropped_chars` counts the oldest characters that left the full context before this chunk. `notice` tells the
    reader, before the text, that the local model answers from here on, or that no server answers for now.
    """

    text: str
    tokens: tuple[int, ...]
    created_at: float
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] = ()
    dropped_chars: int = 0
    notice: Notice | None = None
    top_logprobs: tuple[TopLogprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request to a server: continue a prompt for one reader.

    `resume_tokens` are the tokens of this answer that were generated before; the answer continues after them.
    `alphabet` names the allowed characters (empty: all). `chars_per_second` is the reader's speed (0: unlimited).
    `conversation` is a text that all turns of one conversation share, and with it their KV cache. `gives_way`: the
    answer has a row only while no other answer wants it.
    """

    prompt: str
    sampling: Sampling
    resume_tokens: tuple[int, ...] = ()
    alphabet: str = ""
    chars_per_second: float = 0.0
    conversation: str = ""
    gives_way: bool = False


class Model(Protocol):
    """A model in this process or on a server."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str:
        """The device, for a log; empty until the model is ready."""
        ...

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may have together."""
        ...

    def count_tokens(self, text: str) -> int: ...

    async def wait_ready(self) -> None:
        """Returns when the model can answer. Raises ModelError if it cannot."""
        ...

    def prefill(self, prompt: str) -> None:
        """Computes the stable part of a prompt in the background, while the operator types it.

        Returns at once, never fails, and may be called at every key: the newest prompt counts. Answers go first.
        """
        ...

    def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        """Continues the prompt; closing the generator ends the work within one step.

        Raises PromptTooLong before the first chunk, and any other ModelError at any time.
        """
        ...

    async def close(self) -> None: ...
