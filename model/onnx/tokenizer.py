"""The byte-level BPE of GPT-2. No other module imports `tokenizers`.

`<|endoftext|>` is a special token (one id), and also thirteen characters that an operator may type. `encode` never
turns these characters into the special token; its id is `end_of_text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer as Bpe
from tokenizers import decoders, models, pre_tokenizers, trainers

from model.errors import ModelDamaged, ModelError
from model.interface import END_OF_TEXT as END_OF_TEXT
from model.store.manifest import MAX_TOKENIZER_BYTES
from model.store.regular_file import read_regular


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for the 256 bytes: printable Latin-1 as itself, the rest from U+0100 on (Radford 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
# The library starts a thread for each core to encode a batch, and panics if it cannot. A prompt needs none.
MAX_SERIAL_TEXTS = 64
NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase"}  # others could make a text any length


class Tokenizer:
    """Encodes text as ids and decodes ids to bytes."""

    def __init__(self, bpe: Bpe) -> None:
        self._bpe = bpe
        if bpe.normalizer is not None and type(bpe.normalizer).__name__ not in NORMALIZERS:
            raise ModelDamaged("it rewrites the text first: it is not GPT-2's kind")
        bpe.no_padding()  # which could be of any length
        bpe.no_truncation()
        bpe.encode_special_tokens = True  # the characters "<|endoftext|>" are 7 tokens in GPT-2, not token 50256
        self.vocab_size: int = bpe.get_vocab_size()
        end = bpe.token_to_id(END_OF_TEXT)
        if end is None:
            raise ModelDamaged(f"the vocabulary has no {END_OF_TEXT}: it is not GPT-2's kind")
        self.end_of_text: int = end
        self._bytes = [self._bytes_of(bpe.id_to_token(token)) for token in range(self.vocab_size)]
        self.max_token_bytes: int = max(map(len, self._bytes))

    @staticmethod
    def _bytes_of(token: str | None) -> bytes:
        if token is None:
            raise ModelDamaged("its tokens are not numbered one after the other")
        if token == END_OF_TEXT:
            return b""
        try:
            return bytes(_BYTE_OF[character] for character in token)
        except KeyError:
            raise ModelDamaged(f"the token {token!r} has no bytes: the vocabulary is not GPT-2's kind") from None

    def encode(self, text: str) -> list[int]:
        """The ids of the text; the characters of `<|endoftext|>` stay plain characters."""
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def encode_lines(self, text: str) -> list[int]:
        """The ids of the text, each line on its own, as in training: later lines never change a line's ids."""
        return [token for ids in self.encode_many(text.splitlines(keepends=True)) for token in ids]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) <= MAX_SERIAL_TEXTS:
            return [self.encode(text) for text in texts]
        return [encoding.ids for encoding in self._bpe.encode_batch_fast(list(texts), add_special_tokens=False)]

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; none for the end of text, and for an id beyond the vocabulary."""
        return self._bytes[token] if token < self.vocab_size else b""

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")

    def to_json(self) -> str:
        text: str = self._bpe.to_str(pretty=False)
        return text


def read_file(path: Path) -> Tokenizer:
    """Reads a `tokenizer.json`. Raises ModelDamaged."""
    try:
        text = read_regular(path, MAX_TOKENIZER_BYTES).decode("utf-8")
    except OSError as error:
        raise ModelDamaged(f"{path}: not a tokenizer ({error.strerror}); fetch it again") from None
    except UnicodeDecodeError as error:
        raise ModelDamaged(f"{path}: not a tokenizer ({error}); fetch it again") from None
    try:
        return from_json(text)
    except ModelDamaged as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None


def from_json(text: str) -> Tokenizer:
    """Parses a `tokenizer.json` of asr33 or of the hub. Raises ModelDamaged."""
    with _translate_errors():
        return Tokenizer(Bpe.from_str(text))


def from_gpt2_files(vocabulary: Path, merges: Path) -> Tokenizer:
    """Reads `encoder.json` (or `vocab.json`) and `vocab.bpe` (or `merges.txt`) of OpenAI. Raises ModelDamaged."""
    for path in (vocabulary, merges):
        try:
            read_regular(path, MAX_TOKENIZER_BYTES)
        except OSError as error:
            raise ModelDamaged(f"{path}: {error.strerror}; fetch it again") from None
    try:
        with _translate_errors():
            return Tokenizer(_byte_level(models.BPE.from_file(str(vocabulary), str(merges))))
    except ModelDamaged as error:
        raise ModelDamaged(f"{vocabulary}: {error}; fetch it and {merges.name} again") from None


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Makes the library's errors, which are the bare Exception, ModelDamaged."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        raise ModelDamaged(f"the tokenizer cannot be read ({error})") from None


def train_tokenizer(lines: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains a vocabulary of `vocab_size` tokens; the last is the end of text, as in GPT-2's own."""
    bpe = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 1, initial_alphabet=sorted(_BYTE_OF), show_progress=False)
    bpe.train_from_iterator(lines, trainer)
    bpe.add_special_tokens([END_OF_TEXT])
    return Tokenizer(bpe)


def _byte_level(bpe_model: models.BPE) -> Bpe:
    bpe = Bpe(bpe_model)
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return bpe
