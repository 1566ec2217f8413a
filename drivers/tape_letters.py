"""Letters formed of holes, so that a person reads the beginning of a tape. Data in, data out.

Levels 1 to 5 form a letter. Levels 6 and 7 are punched in each row, as two lines below the letters: without them some
rows would be functions, such as DC4, which switches the punch off.
"""

from __future__ import annotations

_LINE_LEVELS = 0x60  # 6 and 7
_FONT = {
    "ABCDEFGHI": (
        " ## |### | ###|### |####|####| ###|#  #|###",
        "#  #|#  #|#   |#  #|#   |#   |#   |#  #| # ",
        "####|### |#   |#  #|### |### |# ##|####| # ",
        "#  #|#  #|#   |#  #|#   |#   |#  #|#  #| # ",
        "#  #|### | ###|### |####|#   | ###|#  #|###",
    ),
    "JKLMNOPQR": (
        "  ##|#  #|#   |#   #|#   #| ## |### | ##  |### ",
        "   #|# # |#   |## ##|##  #|#  #|#  #|#  # |#  #",
        "   #|##  |#   |# # #|# # #|#  #|### |#  # |### ",
        "#  #|# # |#   |#   #|#  ##|#  #|#   |# ## |# # ",
        " ## |#  #|####|#   #|#   #| ## |#   | ## #|#  #",
    ),
    "STUVWXYZ-": (
        " ###|#####|#  #|#   #|#   #|#   #|#   #|####|   ",
        "#   |  #  |#  #|#   #|#   #| # # | # # |  # |   ",
        " ## |  #  |#  #| # # |# # #|  #  |  #  | #  |###",
        "   #|  #  |#  #| # # |## ##| # # |  #  |#   |   ",
        "### |  #  | ## |  #  |#   #|#   #|  #  |####|   ",
    ),
    "0123456789": (
        " ## | # |### |### |#  #|####| ## |####| ## | ## ",
        "#  #|## |   #|   #|#  #|#   |#   |   #|#  #|#  #",
        "#  #| # | ## | ## |####|### |### |  # | ## | ###",
        "#  #| # |#   |   #|   #|   #|#  #| #  |#  #|   #",
        " ## |###|####|### |   #|### | ## | #  | ## | ## ",
    ),
}


def draw_letters(text: str) -> bytes:
    """Returns the rows of a text: capitals, digits and `-`; any other character becomes a gap."""
    letters = {char: _columns_of(picture, at) for chars, picture in _FONT.items() for at, char in enumerate(chars)}
    gap = bytes((_LINE_LEVELS,))
    return gap + b"".join(letters.get(char, gap * 2) + gap for char in text.upper())


def _columns_of(picture: tuple[str, ...], at: int) -> bytes:
    """Returns a row of tape for each column of a letter; level 1 is at the letter's top."""
    lines = [line.split("|")[at] for line in picture]
    return bytes(
        _LINE_LEVELS | sum((line[column] == "#") << level for level, line in enumerate(lines))
        for column in range(len(lines[0]))
    )
