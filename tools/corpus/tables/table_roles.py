"""Makes the records of a table's rows: text, writer and date by the columns' roles, without what others wrote. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.corpus import dates
from tools.corpus.fields import as_text, as_timestamp
from tools.corpus.record import ImportItem, Record, SkippedItem
from tools.corpus.tables.cell_texts import clean_cell, have_escapes, is_no_value, unwrap_texts
from tools.corpus.tables.column_names import DATE_NAMES, WRITER_NAMES, find_column, is_own_name, normalise_name
from tools.corpus.tables.column_profile import FALSE_VALUES, TRUE_VALUES
from tools.corpus.tables.table_layout import TableLayout, has_wrapped_texts

NO_TEXT = "a tweet without a text"
NO_ROW_TEXT = "a row without a text"
FLAGGED_RETWEET = "a retweet by its flag"
OTHER_WRITER = "a tweet of another user"
OWNER_SHARE = 0.8  # of the sampled tweets that the owner of a table wrote
MIN_OWNER_TWEETS = 5

_FLAG_NAME = re.compile(r"(?:tweet)?(?:(?:is|was)(?:an?)?)?(?:rt|retweet|retweeted)(?:flag)?")
_UNSURE_FLAG_NAMES = ("retweet", "retweeted", "rt")  # these may also be numbers of retweets
_RETWEET_VALUES = frozenset(("rt", "retweet", "retweeted"))
_TRUE_FLAGS = TRUE_VALUES | _RETWEET_VALUES | {"1.0"}
_RETWEET_ID_NAMES = ("retweetid", "retweettweetid", "userrt", "userrtid", "rtid", "retweetdate", "rtuser")
_RETWEET_STARTS = (
    "retweetedstatus",
    "retweetedtweet",
    "retweetedid",
    "retweetedfrom",
    "retweeteduser",
    "retweetedscreen",
)
_TYPE_NAMES = ("type", "tweettype", "posttype", "referencedtweets", "referencedtype", "verb")
_RETWEET_TYPE = re.compile(r"retweet|^\s*share\s*$", re.IGNORECASE)
_NO_IDS = frozenset({"", "0", "0.0", "-1", "nan", "none", "null", "false", "f", "no", "[]", "{}", "-"})
_TWEET_NAMES = frozenset(
    (
        *("favorites", "favoritecount", "favourites", "favouritescount", "screenname", "userscreenname", "rawcontent"),
        *("renderedcontent", "isretweet", "inreplytostatusid", "inreplytouserid", "inreplytoscreenname", "fulltext"),
    )
)
# Of reviews, articles and comments, which have a text, a date and a writer too.
_REVIEW_NAMES = frozenset(
    ("stars", "productid", "asin", "isbn", "businessid", "reviewid", "summary", "title", "subject", "by", "kids")
)
_EPOCH_DIGITS = {10: 1, 13: 1000}  # units per second by the number of digits


@dataclass(frozen=True, slots=True)
class TableRoles:
    """The columns by their roles, from 0; None if missing. `owner` wrote most tweets, "" if that is not clear."""

    text: int
    when: int | None = None
    time: int | None = None
    who: int | None = None
    flags: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    types: tuple[int, ...] = ()
    owner: str = ""
    has_wrapped_texts: bool = False
    has_html: bool = False
    has_escapes: bool = False
    is_tweets: bool = False

    def make_items(self, cells: Sequence[str], location: str) -> Iterator[ImportItem]:
        """Yields the records of a row, or why it has none."""
        texts = unwrap_texts(cells[self.text]) if self.has_wrapped_texts else [cells[self.text]]
        is_missing = is_no_value(cells[self.text], is_list=len(cells) == 1)
        texts = [clean_cell(text, self.has_html, self.has_escapes) for text in texts]
        for text in [as_text(text) for text in texts] or [""]:
            if not text or is_missing:
                yield SkippedItem(location, NO_TEXT if self.is_tweets else NO_ROW_TEXT)
            elif self._is_flagged_retweet(cells) and not text.startswith("RT @"):
                yield SkippedItem(location, FLAGGED_RETWEET)
            else:
                yield self._make_record(cells, location, text)

    def _make_record(self, cells: Sequence[str], location: str, text: str) -> ImportItem:
        who = "" if self.who is None else as_text(cells[self.who])
        if self.owner and who and who.casefold() != self.owner.casefold():
            return SkippedItem(location, OTHER_WRITER)
        when = None if self.when is None else parse_moment(cells[self.when])
        if self.when is not None and self.time is not None and when is not None:
            joined = f"{cells[self.when].strip()} {cells[self.time].strip()}"
            when = parse_moment(joined) or when
        return Record(location, "", text, who, when, "tweet" if self.is_tweets else "document")

    def _is_flagged_retweet(self, cells: Sequence[str]) -> bool:
        return (
            any(cells[at].strip().casefold() in _TRUE_FLAGS for at in self.flags)
            or any(cells[at].strip().casefold() not in _NO_IDS for at in self.ids)
            or any(_RETWEET_TYPE.search(cells[at]) for at in self.types)
        )


def find_roles(layout: TableLayout, text: int, is_tweets: bool) -> TableRoles:
    """Returns the roles of the columns of a table whose texts are in the column `text`."""
    names = list(map(normalise_name, layout.names))
    # beside `My Review` an author is that of a book
    is_own = bool(layout.names) and is_own_name(layout.names[text])
    who = None if is_own else find_column(layout.names, WRITER_NAMES)
    when = _find_date_column(layout)
    time = find_column(layout.names, ("time", "uhrzeit", "heure", "hora"))
    return TableRoles(
        text,
        when,
        time if when is not None and time != when else None,
        who,
        tuple(at for at, name in enumerate(names) if _is_flag(name, at, layout)),
        tuple(at for at, name in enumerate(names) if name in _RETWEET_ID_NAMES or name.startswith(_RETWEET_STARTS)),
        tuple(at for at, name in enumerate(names) if name in _TYPE_NAMES),
        _find_owner(layout, who) if is_tweets and who is not None else "",
        has_wrapped_texts(layout, text),
        layout.profiles[text].kind == "html",
        have_escapes(row[text] for row in layout.sample if text < len(row)),
        is_tweets,
    )


def is_tweet_table(layout: TableLayout, text_names: Sequence[str]) -> bool:
    """Whether the names say that a table holds tweets. `text_names` are those of tweets beside a date or a writer."""
    names = set(map(normalise_name, layout.names))
    if any("tweet" in name for name in names) or names & _TWEET_NAMES:
        return True
    if names & _REVIEW_NAMES:
        return False
    has_text = any(name in text_names for name in names)
    return has_text and (len(names) == 1 or bool(names & {*DATE_NAMES, *WRITER_NAMES}))


def parse_moment(text: str) -> float | None:
    """Returns seconds of UTC since 1970 of a date, or of a number of seconds or milliseconds."""
    text = text.strip()
    when = dates.parse_timestamp(text)
    if when is None and text.isascii() and text.isdigit() and len(text) in _EPOCH_DIGITS:
        return as_timestamp(text, _EPOCH_DIGITS[len(text)])
    return when


def _is_flag(name: str, at: int, layout: TableLayout) -> bool:
    if name not in _UNSURE_FLAG_NAMES:
        return bool(_FLAG_NAME.fullmatch(name))
    values = {row[at].strip().casefold() for row in layout.sample if at < len(row)} - {""}
    return bool(values) and values <= (TRUE_VALUES | FALSE_VALUES | _RETWEET_VALUES) - {"0", "1"}


def _find_date_column(layout: TableLayout) -> int | None:
    """Returns the first column that a name of dates has and whose values are dates; without any values, the first."""
    names = list(map(normalise_name, layout.names))
    columns = [names.index(name) for name in DATE_NAMES if name in names]
    for at in columns:
        if any(at < len(row) and parse_moment(row[at]) is not None for row in layout.sample):
            return at
    return columns[0] if columns else None


def _find_owner(layout: TableLayout, who: int) -> str:
    """Returns the writer of most sampled rows."""
    writers = Counter(name for row in layout.sample if who < len(row) and (name := row[who].strip()))
    name, count = writers.most_common(1)[0] if writers else ("", 0)
    return name if count >= MIN_OWNER_TWEETS and count >= OWNER_SHARE * writers.total() else ""
