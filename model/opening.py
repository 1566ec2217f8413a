"""The first characters of an answer, which begin a new line of the paper after the operator's RETURN. Pure.

RETURN ends a word. So an answer begins with a new word, never in the middle of one, and not with a comma or another
mark that belongs to the line above. A model that has a token mask obeys; the text of any other model is trimmed after
a finished sentence, and only there: after an unfinished one its first characters belong to the sentence.
"""

from __future__ import annotations

from model.interface import Opening

# The marks that do not begin an answer. A chat message may begin with `?`, `...` or `:)`, but not with a comma.
_CLOSING_MARKS = ",;:.!?)]}%…‥、。·•’”»›"
CLOSING_MARKS: dict[Opening, str] = {
    "any": "",
    "word": _CLOSING_MARKS,
    "new word": _CLOSING_MARKS,
    "message": ",;",
}
MAX_HELD_CHARS = 200  # of a start; a longer one is no word and no punctuation, and is printed as it is
_QUOTES = "\"'"  # they open a word, or close one if a blank or a mark follows
_SENTENCE_ENDS = ".!?…"
_CLOSING_QUOTES = "\"')]}’”»"


def ends_sentence(text: str) -> bool:
    """Whether a text ends with a finished sentence, and quotes or brackets after it."""
    return text.rstrip().rstrip(_CLOSING_QUOTES)[-1:] in tuple(_SENTENCE_ENDS)


def choose_opening(text: str) -> Opening:
    """Returns how an answer to this text may begin: with a new word, or with one that joins an open mark.

    After `TWENTY-`, `(` or an opening quote the word follows without a blank.
    """
    text = text.rstrip()
    is_opening_quote = text[-1:] in tuple(_QUOTES) and not text[-2:-1].strip()
    ends_word = text[-1:].isalnum() or text[-1:] in tuple(_CLOSING_MARKS + _QUOTES)
    return "new word" if ends_word and not is_opening_quote else "word"


def judge_opening(text: str, opening: Opening) -> bool | None:
    """Whether an answer may begin with this text; None while that is undecided. A new word has a blank before it."""
    body = text.lstrip()
    if not body:
        return None
    needs_blank = opening not in ("any", "word")
    return body[0] not in CLOSING_MARKS[opening] and not (needs_blank and len(body) == len(text))


class OpeningTrimmer:
    """Removes from a streamed answer the first characters with which it must not begin."""

    def __init__(self, opening: Opening = "any", *, is_new_sentence: bool = True) -> None:
        """Nothing is removed from a continued sentence, except the comma of a message."""
        self._marks = CLOSING_MARKS[opening] if is_new_sentence or opening == "message" else ""
        self._drops_fragment = opening == "new word" and is_new_sentence
        self._is_begun = not self._marks
        self._held = ""

    def feed(self, text: str) -> str:
        """Returns the text that is certain now."""
        if self._is_begun:
            return text
        self._held += text
        head, tail = self._held[:MAX_HELD_CHARS], self._held[MAX_HELD_CHARS:]
        trimmed = self._trim(head)
        self._is_begun = trimmed != "" or tail != ""
        return (trimmed or head) + tail if self._is_begun else ""

    def flush(self) -> str:
        """Returns, at the end of an answer, a single word that was held back as the rest of a word."""
        return "" if self._is_begun or not any(map(str.isalnum, self._held)) else self._held

    def _trim(self, text: str) -> str:
        """Returns the text from its first word on, with the blank before it; an empty text while it is undecided."""
        rest = text
        if self._drops_fragment and (text[:1].islower() or text[:1].isdigit() or text[:1] in tuple("'’")):
            rest = text[len(text.split(maxsplit=1)[0]) :]
        body = rest.lstrip()
        while body and self._is_closing(body):
            body = body[1:].lstrip()
        if not body or body in _QUOTES:
            return ""
        start = len(text) - len(body)
        blanks = text[len(text[:start].rstrip()) : start]
        return blanks + body if blanks or start == 0 else " " + body

    def _is_closing(self, body: str) -> bool:
        if body[0] in _QUOTES:
            return bool(body[1:]) and (body[1].isspace() or body[1] in self._marks)
        return body[0] in self._marks
