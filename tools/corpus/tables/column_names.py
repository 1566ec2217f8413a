"""Recognises the names of columns: which of them hold texts, dates, writers, and which cells are names at all. Pure.

Names are compared without case, blanks and punctuation, so `Tweet Text`, `tweet_text` and `tweetText` are one name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def _split_names(*lines: str) -> tuple[str, ...]:
    return tuple(name for line in lines for name in line.split())


# The best name first. German, French, Spanish, Italian, Portuguese and Dutch names follow the English ones.
TWEET_TEXT_NAMES = ("fulltext", "text", "tweet", "tweets", "tweettext")
TEXT_NAMES = TWEET_TEXT_NAMES + _split_names(
    "rawcontent content contents body message messages msg selftext tweetcontent tweetbody posttext commenttext",
    "commentbody messagetext messagebody statustext statusmessage texts postmessage reviewtext originaltext",
    "spokenwords rawtext sentence sentences utterance document texte textes nachricht nachrichten inhalt contenu texto",
    "textos contenido mensaje mensagem conteudo testo testi contenuto messaggio bericht tekst inhoud",
)
# These may also be numbers of comments, ids of posts or states, or stand beside a better column.
OTHER_TEXT_NAMES = _split_names(
    "post posts status statuses comment comments caption captions review reviews quote quotes joke jokes line lines",
    "paragraph headline headlines lyrics lyric poem poems haiku story stories article articles description summary",
    "abstract note notes transcript dialogue dialog phrase saying proverb excerpt passage verse chapter recipe letter",
    "letters entry entries thought thoughts sms email fortune pun beitrag beiträge kommentar kommentare beschreibung",
    "bildunterschrift zitat zitate satz sätze witz witze spruch sprüche gedicht gedichte eintrag zeile zeilen meldung",
    "commentaire commentaires légende citation citations blague blagues phrases poème comentario comentarios frase",
    "frases publicación publicacion commento",
)
# Texts may be as short as `Nice!` under these names.
COMMENT_NAMES = _split_names(
    "comment comments review reviews caption captions reply replies kommentar kommentare rezension commentaire",
    "commentaires avis comentario comentarios commento commenti recensione reactie post posts joke jokes quote quotes",
)
TITLE_NAMES = _split_names("title titles subject heading titel titre título titulo titolo betreff objet")
DATE_NAMES = _split_names(
    "createdat date timestamp datetime time created createddate posteddate postedat publishedat tweetcreatedat",
    "createdutc senddate datum zeit zeitpunkt uhrzeit heure fecha data hora",
)
WRITER_NAMES = _split_names(
    "username user screenname author userusername userscreenname authorusername handle writer sender benutzer",
    "benutzername autor verfasser auteur utilisateur usuario",
)
_OTHER_NAMES = frozenset(
    _split_names(
        "id idstr tweetid userid source device favorites favoritecount retweets retweetcount likes likecount replies",
        "replycount isretweet retweet label labels class category sentiment target url link permalink mentions",
        "hashtags geo name names lang language location place index row number score rating type tag tags topic",
        "upvotes ups downs count clientid conversationid isdeleted isflagged",
        "quelle sprache nutzer kategorie bewertung langue catégorie",
    )
)
KNOWN_NAMES = frozenset((*TEXT_NAMES, *OTHER_TEXT_NAMES, *TITLE_NAMES, *DATE_NAMES, *WRITER_NAMES, *_OTHER_NAMES))
# The last word says what a column holds: `text_html`, `message_id` and `text_length` hold no texts.
_NO_TEXT_WORDS = frozenset(
    _split_names(
        "id ids html url urls link links count counts number num no nr date time day length len size lang language",
        "type kind source device client user users username author name names writer sender owner account handle",
        "label class category sentiment score rating polarity hash hashtag hashtags mention mentions token tokens",
        "tokenized lemma lemmas stemmed location place geo country city index unnamed tag tags topic topics emoji",
        "emojis media image photo video avatar profile zeitzone timezone quelle autor auteur nom benutzer ort lieu",
        "datum sprache langue permalink slug path file filename phone address thread at by utc",
    )
)
# A column whose name has one of these words holds words of others.
_FOREIGN_WORDS = frozenset(("quoted", "retweeted", "retweet", "rt", "parent"))
# `user_description` is about the writer.
_PERSON_WORDS = frozenset(("user", "author", "profile", "account", "sender", "channel"))
_ABOUT_WORDS = frozenset(("description", "bio", "summary", "status", "title", "headline", "about"))
_WORD = re.compile(r"[A-ZÄÖÜ]?[^\W\dA-ZÄÖÜ_]+|[A-ZÄÖÜ]+(?![^\W\dA-ZÄÖÜ_])|\d+")
_NAME = re.compile(r"[^\W\d][\w ./:#()\[\]%&+-]{0,40}")
_NUMBERED_NAME = re.compile(r"\d{1,3}|[Uu]nnamed: ?\d{1,3}")  # pandas numbers columns without a name
_SENTENCE = re.compile(r"[.!?…](?:\s|$)|,\s")
_MAX_NAME_WORDS = 4


def normalise_name(name: str) -> str:
    """Returns the letters and digits of a name, in small letters."""
    return "".join(filter(str.isalnum, name.casefold()))


def text_rank(name: str) -> int | None:
    """Returns how surely a column of this name holds texts: 0 surely, 3 only titles; None: the name does not say it.

    A name of JSON is a path, such as `user.description`.
    """
    if is_denied(name):
        return None
    last = normalise_name(name.rpartition(".")[2])
    words = _split_words(name)
    if last in TEXT_NAMES:
        return 0
    if any(word in TEXT_NAMES for word in words):
        return 1
    if last in OTHER_TEXT_NAMES or any(word in OTHER_TEXT_NAMES for word in words):
        return 2
    return 3 if any(word in TITLE_NAMES for word in words) else None


def is_comment_name(name: str) -> bool:
    """Whether the last word of a name is one of `COMMENT_NAMES`, as in `My Review`."""
    words = _split_words(name)
    return bool(words) and words[-1] in COMMENT_NAMES and not is_denied(name)


def is_own_name(name: str) -> bool:
    """Whether a name says that the user wrote the texts: `My Review`."""
    return _split_words(name)[:1] in (["my"], ["mein"], ["meine"], ["mon"], ["mes"], ["mi"], ["mis"])


def is_denied(name: str) -> bool:
    """Whether a column of this name surely holds no own texts: ids, dates, writers, texts of others."""
    parent, _, last = name.rpartition(".")
    words = _split_words(last)
    normalised = normalise_name(last)
    if normalised in DATE_NAMES or normalised in WRITER_NAMES or normalised in _OTHER_NAMES:
        return True
    if (words and words[-1] in _NO_TEXT_WORDS) or is_unnamed(name):
        return True
    if words and words[0] in _PERSON_WORDS and words[-1] in _ABOUT_WORDS:
        return True
    return not _FOREIGN_WORDS.isdisjoint(_split_words(name)) or not _NO_TEXT_WORDS.isdisjoint(_split_words(parent))


def find_column(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Returns the number of the first of the `wanted` names, which are normalised; None without any."""
    normalised = list(map(normalise_name, names))
    return next((normalised.index(name) for name in wanted if name in normalised), None)


def is_known_name(cell: str) -> bool:
    return normalise_name(cell) in KNOWN_NAMES


def is_name_like(cell: str) -> bool:
    """Whether a cell could be the name of a column: short, and no sentence. An empty cell could."""
    text = cell.strip()
    if not text or _is_numbered(text):
        return True
    return bool(_NAME.fullmatch(text)) and not _SENTENCE.search(text) and len(text.split()) <= _MAX_NAME_WORDS


def is_text_title(cell: str) -> bool:
    """Whether a cell is two or three words of which the last names texts in the plural: `My posts`."""
    words = cell.split()
    name = words[-1].casefold() if words else ""
    return 2 <= len(words) <= 3 and name.endswith("s") and name in (*TEXT_NAMES, *OTHER_TEXT_NAMES)


def is_identifier(cell: str) -> bool:
    """Whether a cell is a name as programs write it: one word in small letters, snake_case or camelCase."""
    text = cell.strip()
    if not text or not text.replace("_", "").isalnum() or not text[0].isalpha():
        return False
    return text.islower() or is_compound_name(text)


def is_compound_name(cell: str) -> bool:
    """Whether a cell is snake_case or camelCase, which no text begins with."""
    return bool(re.fullmatch(r"[^\W_]+(?:_[^\W_]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+", cell.strip()))


def _split_words(name: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(name)]


def is_unnamed(name: str) -> bool:
    """Whether pandas gave a column this name."""
    return name.strip().casefold().startswith("unnamed")


def _is_numbered(name: str) -> bool:
    return bool(_NUMBERED_NAME.fullmatch(name.strip()))
