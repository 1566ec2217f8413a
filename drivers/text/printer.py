"""The printer: text to strokes.

Folds text, wraps whole words, prints bold and underline by a second pass, and prints art unchanged. `carriage` knows
the column. Does not know when a stroke is struck.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.profile import Profile
from drivers.text.carriage import Carriage, Fill, Stroke
from drivers.text.charset import IncrementalFolder, Style, fold_text
from drivers.text.control_sequences import ControlSequenceRemover
from drivers.text.overstrike import UNDERLINE, OverstrikePasses, PendingWord

__all__ = ["Fill", "Printer", "Stroke"]

_FACTORY_PROFILE = Profile()


class Printer:
    """Holds words back until they are whole: a word that does not fit goes to the next line."""

    def __init__(self, profile: Profile = _FACTORY_PROFILE, *, column: int | None = None) -> None:
        self._profile = profile
        self._carriage = Carriage(profile, column)
        self._folder = IncrementalFolder(profile.wheel)
        self._sequences = ControlSequenceRemover()
        self._blanks = 0
        self._word = PendingWord(profile.wheel)
        self._passes = OverstrikePasses()  # over this line, due before it ends
        self._after_cr = False  # art: a CR came, and its LF may follow
        self._overprinting = False  # art: this line has ink under the carriage on purpose
        self._back_offset = 0  # art: cells that backspaces have gone back from the column

    @property
    def column(self) -> int | None:
        """Column of the carriage after all strokes made so far; None: unknown."""
        return self._carriage.column

    @property
    def held_characters(self) -> int:
        """Number of characters that are held back."""
        return self._blanks + len(self._word)

    @property
    def has_held_word(self) -> bool:
        """Whether a word is held back that may go on, and not only blanks."""
        return bool(self._word)

    @property
    def fill(self) -> Fill:
        """Bytes sent while the carriage travels: none; RUBOUT where the punch makes a replayable tape; NUL."""
        return self._carriage.fill

    @fill.setter
    def fill(self, fill: Fill) -> None:
        self._carriage.fill = fill

    def feed(self, text: str, style: Style = "prose", *, overstrike: bool = False) -> list[Stroke]:
        """Returns the strokes up to the last word, which may go on in the next piece; pieces may be cut anywhere.

        With `overstrike` a backspace in prose is a typewriter's: `X\\bX` is bold, `_\\bX` underlined.
        """
        if text:
            self._end_raw()
        text = self._sequences.feed(text) if style == "prose" else text
        if overstrike and style == "prose":
            return self._feed_overstrike(text)
        self._word.back_offset = 0
        strokes: list[Stroke] = []
        for glyph in self._folder.feed(text, style):
            strokes += self._add_glyph(glyph)
        return strokes

    def flush(self) -> list[Stroke]:
        """Returns the strokes of the held-back word and of the blanks after it: a prompt ends in a blank."""
        strokes = self._release_word()
        if self._blanks:
            if not self._overprinting:
                strokes += self._clean_line()
            strokes += self._carriage.strike(" " * min(self._blanks, self._profile.usable_columns - (self.column or 0)))
            self._blanks = 0
        return strokes

    def feed_raw(self, text: str) -> list[Stroke]:
        """Returns the strokes of art: each character in its cell, cut off at the margin; `\\r` and `\\b` go back.

        Only blanks are held back, and they are not struck at the end of a line. Pieces may be cut anywhere.
        """
        strokes = self._release_word()
        for char in self._sequences.feed(text):
            strokes += self._add_raw_glyph(self._raw_glyph_for(char))
        return strokes

    def echo_keys(self, text: str) -> list[Stroke]:
        """Returns the strokes of typed keys; nothing is held back. `\\a` rings, `\\r` only returns the carriage."""
        strokes = self.flush()
        self._reset()
        for char in text:
            if char == "\a":
                strokes += self.bell()
            elif char == "\r":
                strokes += self._carriage.carriage_return()
            else:
                for glyph in fold_text(char, wheel=self._profile.wheel):
                    strokes += self._echo_glyph(glyph)
        return strokes

    def fresh_line(self) -> list[Stroke]:
        """Returns the strokes to the left margin of a clean line; none if the carriage is there already."""
        strokes = self.flush()
        self._reset()
        return strokes + (self._clean_line() if self.column == 0 else self._new_line())

    def bell(self) -> list[Stroke]:
        return self._carriage.bell()

    def return_at_margin(self) -> list[Stroke]:
        """Returns the new line that is due at the right margin after a key that the machine printed by itself.

        It has no bell, which would garble the next key in half duplex.
        """
        full = self.column is not None and self.column >= self._profile.usable_columns
        return self._new_line() if full else []

    def observe_byte(self, byte: int) -> float:
        """Records a byte that the machine printed by itself; returns the seconds of carriage travel."""
        return self._carriage.observe_byte(byte)

    def lose_track(self) -> None:
        """Makes the column unknown: the operator typed in LOCAL, or the motor was off."""
        self._carriage.lose_track()
        self._passes.clear()
        self._end_raw()

    def forget_unstruck(self, unstruck: Sequence[Stroke]) -> None:
        """Removes the last strokes, which were never struck, and all that is held back."""
        self._carriage.forget_unstruck(unstruck)
        self._passes.clear()
        self._word.clear()
        self._blanks = 0
        self._reset()

    # Prose.

    def _add_glyph(self, glyph: str) -> list[Stroke]:
        if glyph == "\n":
            strokes = self._release_word()
            self._blanks = 0
            return strokes + self._new_line()
        if glyph == " ":
            strokes = self._release_word()
            self._blanks += 1
            return strokes
        if len(self._word) < self._profile.usable_columns:
            self._word.append(glyph)
            return []
        strokes = self._release_word()  # longer than any line: cut, on a line of its own
        self._word.append(glyph)
        return strokes

    def _release_word(self) -> list[Stroke]:
        if not self._word:
            return []
        strokes = self._clean_line()
        if (self.column or 0) + self.held_characters > self._profile.usable_columns:
            strokes += self._new_line() if self.column else []
            self._blanks = 0  # blanks at a wrap would only indent the next line
        cells = self._word.take_cells()
        first = (self.column or 0) + self._blanks
        for at, cell in enumerate(cells):
            if len(cell) > 1:
                self._passes.add(first + at, cell[1:])
        strokes += self._carriage.strike(" " * self._blanks + "".join(cell[0] for cell in cells))
        self._blanks = 0
        return strokes

    def _echo_glyph(self, glyph: str) -> list[Stroke]:
        if glyph == "\n":
            return self._new_line()
        full = self.column is not None and self.column >= self._profile.usable_columns
        strokes = self._new_line() if full else self._clean_line()
        return strokes + self._carriage.strike(glyph) + self._margin_bell()

    def _margin_bell(self) -> list[Stroke]:
        before = self._profile.margin_bell
        return self.bell() if before and self.column == self._profile.usable_columns - before else []

    def _clean_line(self) -> list[Stroke]:
        """Returns a new line if the next glyph would land on another, as after a start or a BREAK."""
        return [] if self._carriage.is_clean else self._new_line()

    def _new_line(self) -> list[Stroke]:
        strokes: list[Stroke] = []
        for row in self._passes.take_rows():
            if self.column is not None and not self._profile.return_feeds:
                strokes += self._carriage.carriage_return() + self._carriage.strike(row, is_overprint=True)
        self._end_raw()
        return strokes + self._carriage.new_line()

    def _reset(self) -> None:
        self._folder, self._sequences = IncrementalFolder(self._profile.wheel), ControlSequenceRemover()
        self._word.clear()
        self._end_raw()

    # A typewriter's overstrikes.

    def _feed_overstrike(self, text: str) -> list[Stroke]:
        strokes: list[Stroke] = []
        for char in text:
            if char == "\b":
                self._folder.step_back()
                self._backspace()
            elif glyphs := self._folder.feed(char):
                strokes += self._overstrike_char(UNDERLINE if char == "_" else glyphs)
        return strokes

    def _overstrike_char(self, glyphs: str) -> list[Stroke]:
        """Strikes one character over the cells that backspaces have gone back to."""
        strokes: list[Stroke] = []
        if not self._word.back_offset or glyphs == "\n":
            self._word.note_typed(glyphs)
        else:
            glyphs, before = self._word.overstrike(glyphs)
            strokes += self._clean_line() if before else []
            for at, glyph in before.items():
                self._passes.add(min(max(self._word_column + at, 0), self._profile.usable_columns - 1), glyph)
        for glyph in glyphs:
            strokes += self._add_glyph(glyph)
        return strokes

    def _backspace(self) -> None:
        if self._blanks and not self._word:
            self._blanks -= 1  # a blank has no ink, so it is dropped
        else:
            self._word.backspace(self._word_column + len(self._word))

    @property
    def _word_column(self) -> int:
        """The column where the held word would begin on this line."""
        return (self.column or 0 if self._carriage.is_clean else 0) + self._blanks

    # Art.

    def _end_raw(self) -> None:
        self._after_cr = self._overprinting = False
        self._back_offset = 0

    def _raw_glyph_for(self, char: str) -> str:
        if char in "\r\b_":  # art names its cells: 5F is what the wheel has there, in 1963 the left arrow
            return char
        glyphs = fold_text(char, wheel=self._profile.wheel)
        return glyphs if len(glyphs) < 2 else glyphs[0] if len(set(glyphs)) == 1 else "?"

    def _add_raw_glyph(self, glyph: str) -> list[Stroke]:
        if glyph == "\n":
            self._blanks = 0
            return self._new_line()
        if glyph == "\r":
            self._after_cr = True
        if glyph in ("", "\r"):
            return []
        strokes = self._start_overprint() if self._after_cr else []
        if glyph == "\b" or self._back_offset:
            self._overstrike_raw(glyph)
        elif glyph == " ":
            self._blanks += 1
        else:
            strokes += self._strike_raw(glyph)
        return strokes

    def _strike_raw(self, glyph: str) -> list[Stroke]:
        strokes = [] if self._overprinting else self._clean_line()
        if self._overprinting and self._profile.return_feeds:
            return strokes  # no second pass on this machine
        if (self.column or 0) + self._blanks < self._profile.usable_columns:
            strokes += self._carriage.strike(" " * self._blanks + glyph)
            self._blanks = 0
        else:
            self._blanks += 1  # cut off, but it keeps its cell
        return strokes

    def _overstrike_raw(self, glyph: str) -> None:
        """Handles a backspace, or a character after it, which a later pass strikes."""
        if glyph != "\b":
            if glyph != " ":
                self._passes.add((self.column or 0) - self._back_offset, glyph)
            self._back_offset -= 1
        elif self._blanks:
            self._blanks -= 1
        elif self._carriage.is_clean or self._overprinting:
            self._back_offset = min(self._back_offset + 1, self.column or 0)

    def _start_overprint(self) -> list[Stroke]:
        strokes = [] if self._overprinting else self._clean_line()
        self._after_cr, self._blanks, self._back_offset = False, 0, 0
        self._overprinting = self._overprinting or self.column != 0
        return strokes + self._carriage.carriage_return()
