"""Text to strokes: folded to the type wheel, words wrapped whole, bold and underline by a second pass, art as it is.

Knows what is held back until a word is whole; where the carriage stands is the affair of `carriage`. Does not know
when anything is struck.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.profile import Profile
from drivers.text.carriage import Carriage, Fill, Stroke
from drivers.text.charset import IncrementalFolder, Style, fold_text
from drivers.text.overstrike import UNDERLINE, OverstrikePasses, PendingWord

__all__ = ["Fill", "Printer", "Stroke"]

_FACTORY_PROFILE = Profile()


class Printer:
    """Words are held back until they are whole: one that does not fit goes to the next line."""

    def __init__(self, profile: Profile = _FACTORY_PROFILE, *, column: int | None = None) -> None:
        self._profile = profile
        self._carriage = Carriage(profile, column)
        self._folder = IncrementalFolder(profile.wheel)
        self._blanks = 0
        self._word = PendingWord(profile.wheel)
        self._passes = OverstrikePasses()  # over this line, before it ends
        self._after_cr = False  # art: a CR came, and it is not yet known whether its LF follows
        self._overprinting = False  # art: this line has ink under the carriage on purpose
        self._back_offset = 0  # art: how far backspaces have gone back from the column

    @property
    def column(self) -> int | None:
        """Where the carriage stands when all that was given out is struck; None is unknown."""
        return self._carriage.column

    @property
    def held_characters(self) -> int:
        """How many characters are held back."""
        return self._blanks + len(self._word)

    @property
    def has_held_word(self) -> bool:
        """Whether a word stands there that may go on, and not only blanks."""
        return bool(self._word)

    @property
    def fill(self) -> Fill:
        """What is sent while the carriage flies: nothing; RUBOUT where the punch makes a tape to be replayed; NUL."""
        return self._carriage.fill

    @fill.setter
    def fill(self, fill: Fill) -> None:
        self._carriage.fill = fill

    def feed(self, text: str, style: Style = "prose", *, overstrike: bool = False) -> list[Stroke]:
        """Everything up to the last word, which may go on in the next piece; the pieces may be cut anywhere.

        With `overstrike` a backspace in prose is a typewriter's: `X\\bX` is bold, `_\\bX` underlined.
        """
        if text:
            self._end_raw()
        if overstrike and style == "prose":
            return self._feed_overstrike(text)
        self._word.back_offset = 0
        strokes: list[Stroke] = []
        for glyph in self._folder.feed(text, style):
            strokes += self._add_glyph(glyph)
        return strokes

    def flush(self) -> list[Stroke]:
        """What was held back, the blanks after it included: a prompt ends in one."""
        strokes = self._release_word()
        if self._blanks:
            if not self._overprinting:
                strokes += self._clean_line()
            strokes += self._carriage.strike(" " * min(self._blanks, self._profile.usable_columns - (self.column or 0)))
            self._blanks = 0
        return strokes

    def feed_raw(self, text: str) -> list[Stroke]:
        """Art: each character in its cell, what is too far right cut off; `\\r` and `\\b` go back for a second pass.

        No word is held back, only blanks: they are not struck at the end of a line. The pieces may be cut anywhere.
        """
        strokes = self._release_word()
        for char in text:
            strokes += self._add_raw_glyph(self._raw_glyph_for(char))
        return strokes

    def echo_keys(self, text: str) -> list[Stroke]:
        """Typed keys: nothing held back, no word kept whole; `\\a` rings, `\\r` returns the carriage and no more."""
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
        """To the left margin of a clean line; nothing if the carriage is there already."""
        strokes = self.flush()
        self._reset()
        return strokes + (self._clean_line() if self.column == 0 else self._new_line())

    def bell(self) -> list[Stroke]:
        return self._carriage.bell()

    def return_at_margin(self) -> list[Stroke]:
        """What the right margin asks for after a key that the machine printed itself: a new line.

        No bell: in half duplex it would garble the next key.
        """
        full = self.column is not None and self.column >= self._profile.usable_columns
        return self._new_line() if full else []

    def observe_byte(self, byte: int) -> float:
        """A byte that the machine printed from its own keyboard; says how long the carriage travels, from its start."""
        return self._carriage.observe_byte(byte)

    def lose_track(self) -> None:
        """The carriage may stand anywhere: somebody typed in LOCAL, or the motor was off."""
        self._carriage.lose_track()
        self._passes.clear()
        self._end_raw()

    def forget_unstruck(self, unstruck: Sequence[Stroke]) -> None:
        """These strokes, the last ones given out, were never struck; what is held back goes with them."""
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
            self._blanks = 0  # the blanks at a wrap would only indent the next line
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
        """What it takes that the next glyph lands on no other: nothing, but after a start or a BREAK."""
        return [] if self._carriage.is_clean else self._new_line()

    def _new_line(self) -> list[Stroke]:
        strokes: list[Stroke] = []
        for row in self._passes.take_rows():
            if self.column is not None and not self._profile.return_feeds:
                strokes += self._carriage.carriage_return() + self._carriage.strike(row)
        self._end_raw()
        return strokes + self._carriage.new_line()

    def _reset(self) -> None:
        """What comes next has nothing to do with what came before."""
        self._folder = IncrementalFolder(self._profile.wheel)
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
        """One character, over what stands where the backspaces have led."""
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
            self._blanks -= 1  # a blank has no ink: it is struck instead
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
        if char in "\r\b":
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
            self._blanks += 1  # cut off, but it has its cell
        return strokes

    def _overstrike_raw(self, glyph: str) -> None:
        """A backspace, or what comes after it: that is for a later pass."""
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
