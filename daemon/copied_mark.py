"""The copied-from-training mark: words of an answer that stand in the model's training text are underlined on paper.

A word is copied if it is in a run of so many words of the answer that the training text has too. Whether a word is in
such a run is known only when the words after it are, so the paper runs that many words behind the model: then a run
that begins on one line of paper and ends on the next is marked on both. Knows no model; the index is a file beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.profile import Profile, TypeWheel
from drivers.text.charset import IncrementalFolder
from model.dialogue import SpeakerTagFilter
from model.errors import ModelError
from model.server_url import is_url
from model.words import WordSplitter, split_words


class RunLookup(Protocol):
    """Tells whether a training text has `run_length` words in a row."""

    @property
    def run_length(self) -> int: ...

    def has_run(self, words: Sequence[str]) -> bool: ...


@dataclass(slots=True)
class _HeldPart:
    """A part of the answer that is not printed yet; `number` of a word, from 0."""

    text: str
    number: int = -1
    is_copied: bool = False


class CopiedMarker:
    """Marks the copied words of one answer, which comes in pieces. `overstrike` is printed over each glyph of them."""

    def __init__(self, index: RunLookup, profile: Profile) -> None:
        self._index, self._wheel, self._can_overstrike = index, profile.wheel, not profile.return_feeds
        self._folder = IncrementalFolder(profile.wheel)
        self._splitter = WordSplitter()
        self._held: deque[_HeldPart] = deque()
        self._last_words: deque[str] = deque(maxlen=index.run_length)
        self._word_count = 0

    def feed(self, text: str) -> str:
        """Returns the text that is decided now, with backspaces and overstrikes where it is copied."""
        for part in self._splitter.feed(text):
            self._hold(part.text, part.word)
        return self._take_decided(self._word_count - self._index.run_length)

    def mark_text(self, text: str) -> list[tuple[str, bool]]:
        """Returns the text that is decided now, which has overstrikes."""
        return [(self.feed(text), True)]

    def release(self) -> str:
        """Returns all the rest, before a notice or at the end. Words after it still complete a run."""
        for part in self._splitter.flush():
            self._hold(part.text, part.word)
        return self._take_decided(self._word_count)

    def describe_copied(self, answer: str, persona_tag: str = "") -> str:
        """Returns the line after an answer: how many of its words are copied."""
        tag_filter = SpeakerTagFilter(persona_tag)
        words = split_words(tag_filter.feed(answer) + tag_filter.flush())
        copied = len(find_copied(words, self._index))
        percent = round(100 * copied / len(words)) if words else 0
        return f"{percent} % OF {len(words)} WORDS {'ARE' if len(words) != 1 else 'IS'} COPIED\n"

    def _hold(self, text: str, word: str) -> None:
        if not word:
            self._held.append(_HeldPart(text))
            return
        self._held.append(_HeldPart(text, self._word_count))
        self._word_count += 1
        self._last_words.append(word)
        if len(self._last_words) == self._index.run_length and self._index.has_run(list(self._last_words)):
            for part in self._held:
                part.is_copied = part.is_copied or part.number >= self._word_count - self._index.run_length

    def _take_decided(self, last_number: int) -> str:
        """Takes the words up to this number, and what stands between them."""
        out: list[str] = []
        while self._held and self._held[0].number <= last_number:
            part = self._held.popleft()
            glyphs = self._folder.feed(part.text)
            is_marked = part.is_copied and self._can_overstrike
            out.append("".join(map(self._overstrike, glyphs)) if is_marked else glyphs)
        return "".join(out)

    def _overstrike(self, glyph: str) -> str:
        return glyph if glyph.isspace() else f"{glyph}\b{overstrike_for(glyph, self._wheel)}"


def find_copied(words: Sequence[str], index: RunLookup) -> set[int]:
    """Returns the numbers of the words that are in a run of the training text."""
    length = index.run_length
    starts = (at for at in range(len(words) - length + 1) if index.has_run(words[at : at + length]))
    return {at + offset for at in starts for offset in range(length)}


def overstrike_for(glyph: str, wheel: TypeWheel) -> str:
    """Returns what is struck over a copied glyph: `_`, or itself on the wheel of 1963, whose 0x5F is a left arrow."""
    return glyph if wheel == "1963" else "_"


class CopiedMark:
    """The mark at one machine. `find_model` returns the name, path or URL of the model that answers."""

    def __init__(
        self, find_model: Callable[[], str], profile: Profile, print_line: Callable[[str], Awaitable[None]]
    ) -> None:
        self._find_model, self._profile, self._print_line = find_model, profile, print_line
        self._last_error = ""

    def open_marker(self) -> CopiedMarker:
        """Returns the marker of one answer. Raises ModelError with the cure if the model has no index."""
        return CopiedMarker(self._open_index(), self._profile)

    def describe(self) -> str:
        """Returns the answer to .COPIED when it begins. Raises ModelError."""
        index = self._open_index()
        runs = f"RUNS OF {index.run_length} WORDS AND MORE THAT THE MODEL'S TEXT HAS ARE"
        if self._profile.return_feeds:
            return f"{runs} COUNTED; CR FEEDS THE PAPER HERE, SO THEY HAVE NO MARK.\n"
        return f"{runs} {'STRUCK TWICE' if self._profile.wheel == '1963' else 'UNDERLINED'}.\n"

    async def open_if(self, is_wanted: bool) -> CopiedMarker | None:
        """Returns the marker of one answer if it is wanted and can be; prints once why it cannot be."""
        try:
            return self.open_marker() if is_wanted else None
        except ModelError as error:
            line = f"-- {error} --\n"
        is_new, self._last_error = line != self._last_error, line
        if is_new:
            await self._print_line(line)
        return None

    def _open_index(self) -> RunLookup:
        from model.store import copy_index, store  # a daemon that marks nothing does not need them

        name = self._find_model()
        if is_url(name):
            raise ModelError(f"{name}: a model on a server has its index there; take one of this computer", "missing")
        return copy_index.open_copy_index(store.find_model(name), name)
