"""The byte-level BPE of GPT-2. No other module imports `tokenizers`.

`<|endoftext|>` is a special token (one id), and also thirteen characters that an operator may type. `encode` never
turns these characters into the special token; its id is `end_of_text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as Bpe
from tokenizers import decoders, models, pre_tokenizers, trainers

from model.errors import ModelDamaged
from model.interface import END_OF_TEXT as END_OF_TEXT


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for the 256 bytes: printable Latin-1 as itself, the rest from U+0100 on (Radford 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
# The library starts a thread for each core to encode a batch, and panics if it cannot. A prompt needs none.
MAX_SERIAL_TEXTS = 64


class Tokenizer:
    """Encodes text as ids and decodes ids to bytes."""

    def __init__(self, bpe: Bpe) -> None:
        self._bpe = bpe
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
        if token is None or token == END_OF_TEXT:
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


def from_json(text: str) -> Tokenizer:
    """Parses a `tokenizer.json` of asr33 or of the hub. Raises ModelDamaged."""
    try:
        bpe = Bpe.from_str(text)
    except Exception as error:  # the library raises the bare Exception
        raise ModelDamaged(f"the tokenizer cannot be read ({error})") from None
    return Tokenizer(bpe)


def from_gpt2_files(vocabulary: Path, merges: Path) -> Tokenizer:
    """Reads `encoder.json` (or `vocab.json`) and `vocab.bpe` (or `merges.txt`) in OpenAI's format."""
    return Tokenizer(_byte_level(models.BPE.from_file(str(vocabulary), str(merges))))


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
