"""Names, numbers and addresses -> stable invented ones, in what is written and in who wrote it. Pure.

It knows the names of those who write or whom an export names, and what looks like a handle, a link, an e-mail
address, a telephone number or a street. It cannot know nicknames, others who are spoken of, places, nor what somebody
did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from tools.corpora import invented
from tools.corpora.names import folded
from tools.corpora.record import Record

CANNOT = (
    "--anonymous cannot know nicknames, people whom no export names, places and deeds: "
    "read corpus show before you give a model away"
)

# Parts of names that are no names.
_NO_NAMES = "a al and bin da de del della der di dos du el ibn la le mac of the van von y zu"
# Names that a sentence is more likely to mean otherwise where it begins with them, or has them small.
_COMMON = """
    an angel april art august baker bell bill black bob brook brown bush chance chase christian church clay cook cox
    dean do dawn day drew duke earl faith fox frank gene glen good grace grant gray green guy hall harry hope hunt ivy
    jack jean jewel joy june jo king lake lane law little long lord love major man many mark marsh may max miles
    moon more mike ng no nick noble norm oh olive page park pat penny pepper pet pierce place poppy price prince ray
    rich rider river rob robin rock rose ruby sage sandy sky so star stone sue summer sun tan to tom too trip turner
    victor violet walker ward wells white will win wise wood wu yang you young
"""
_BEGINNERS = "an do good little long many may more no oh so to too will you"
_PARTICLES = frozenset(_NO_NAMES.split())
_WORDS = frozenset(_COMMON.split())
_BEGIN = frozenset(_BEGINNERS.split())

_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_STREETS = "Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Boulevard|Blvd|Terrace|Crescent|Close|Way"
_DATE = r"\d{4}([-./ ])\d\d?\1\d\d?(?:[ T]\d\d?)?|\d\d?([-./ ])\d\d?\2\d{4}(?: \d\d?)?|[12]\d{3} ?- ?[12]\d{3}"
_NO_PHONE = re.compile(rf"{_DATE}|\d+\.\d+")
_PARTS = re.compile(
    r"(?P<link>\b(?:https?|ftp)://[^\s<>\"]+|\bwww\.[^\s<>\"]+)"
    r"|(?P<mail>[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<handle>(?<![\w@])@\w{2,})"
    rf"|(?P<street>\b\d{{1,5}}[A-Za-z]?,? (?:[A-Z][\w'’.]* ){{1,3}}(?:{_STREETS})\b\.?"
    r"|\b\d{1,4},? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Vv]ia|[Cc]alle|[Pp]lace)"
    r"(?: (?:[dl][aeiou]s?|della|degli)){0,2}(?: [A-ZÀ-Ý][\w'’-]+){1,3}"
    r"|\b[A-ZÄÖÜ][\wäöüß-]*(?:straße|strasse|str\.|weg|platz|allee|gasse|ufer) \d{1,4} ?[a-z]?\b)"
    r"|(?P<postcode>\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b|\b[A-Z]{2} \d{5}(?:-\d{4})?\b)"
    r"|(?P<phone>(?<![\w.,])(?:\+|\()?\d(?:[ ./()-]{0,2}\d){6,18}(?![\w]|[.,]\d))"
    r"|(?P<word>\w+)"
)
_STARTS = re.compile(r"(?:\A|[.!?:\n\"“(])[ \t]*\Z")


def people(records: Iterable[Record]) -> frozenset[str]:
    """Everybody who writes."""
    return frozenset(record.who for record in records if record.who)


class Inventions:
    """What stands for what."""

    def __init__(self, names: Iterable[str], secret: str) -> None:
        self._secret = secret
        given, family, others = _words(names)
        self._names = invented.names(given, family, others, secret)
        unspaced = sorted((name for name in self._names if _UNSPACED.search(name) and len(name) > 1), key=len)
        self._unspaced = re.compile("|".join(map(re.escape, reversed(unspaced)))) if unspaced else None

    def name(self, who: str) -> str:
        """Of one who writes: each part of the name has its own invention."""
        if who.startswith("@"):
            return f"@{self._handle(who[1:])}"
        if _number(who):
            return self.text(who)
        return re.sub(r"\w+", lambda match: self._of_name(match[0]), who)

    def record(self, record: Record) -> Record:
        """The same, told by nobody; threads and files have numbers for names, since these may be people's."""
        return replace(
            record,
            text=self.text(record.text),
            who=self.name(record.who),
            thread=record.thread and self._numbered("thread", record.thread),
            source=self._numbered("file", record.source),
        )

    def text(self, text: str) -> str:
        """Names in it, handles, links, addresses, numbers."""
        return _PARTS.sub(self._part, text)

    def _numbered(self, kind: str, name: str) -> str:
        return f"{kind} {invented.number(self._secret, kind, name) % 16**8:08x}"

    def _of_name(self, word: str) -> str:
        found = self._names.get(folded(word))
        return word if found is None else _cased(found, word)

    def _part(self, match: re.Match[str]) -> str:
        kind, found = match.lastgroup, match[0]
        if kind == "word":
            return self._word(match)
        if kind == "link":
            end = found[len(found.rstrip(".,;:!?)]'’”")) :]
            return f"https://example.org/{invented.word(self._secret, found.removesuffix(end))}{end}"
        if kind == "mail":
            return f"{invented.word(self._secret, folded(found))}@example.org"
        if kind == "handle":
            return f"@{self._handle(found[1:])}"
        if kind == "phone":
            return found if _NO_PHONE.fullmatch(found) else self._phone(found)
        return self._place(kind or "", found)

    def _word(self, match: re.Match[str]) -> str:
        word = match[0]
        key = folded(word)
        found = self._names.get(key)
        if found is None and len(key) > 4 and key.endswith("s") and key[:-1] not in _WORDS:
            genitive = self._names.get(key[:-1])
            found = None if genitive is None else f"{genitive}s"
        if found is None:
            return self._amid(word) if self._unspaced else word
        return _cased(found, word) if _meant(key, match) else word

    def _amid(self, word: str) -> str:
        """Names in a script that puts no blanks between words."""
        if self._unspaced is None or not _UNSPACED.search(word):
            return word
        return self._unspaced.sub(lambda match: _cased(self._names[match[0]], match[0]), word)

    def _handle(self, handle: str) -> str:
        known = self._names.get(folded(handle))
        tries = 0
        while known is None:
            made = invented.word(self._secret, "handle", folded(handle), tries)
            known, tries = None if made in self._names else made, tries + 1
        return known

    def _phone(self, found: str) -> str:
        """Of the same shape; it begins with 555, which few real ones do."""
        digits = iter("555" + str(invented.number(self._secret, "phone", re.sub(r"\D", "", found)) + 10**20))
        return re.sub(r"\d", lambda _: next(digits), found)

    def _place(self, kind: str, found: str) -> str:
        chosen = invented.number(self._secret, kind, folded(found))
        if kind == "postcode":
            return re.sub(r"\d", lambda _: "0", re.sub(r"[A-Z]", "X", found))
        return f"{chosen % 97 + 2} {invented.FAMILY[chosen // 97 % len(invented.FAMILY)].title()} Road"


def _words(names: Iterable[str]) -> tuple[set[str], set[str], set[str]]:
    """The parts of all names, folded: given names, family names, and what is rather a handle."""
    given: set[str] = set()
    family: set[str] = set()
    others: set[str] = set()
    for name in names:
        words = [word for word in re.findall(r"\w+", name) if len(word) > 1 and not word.isdigit()]
        words = [word for word in words if folded(word) not in _PARTICLES]
        if len(words) == 1 and (words[0].islower() or not words[0].isalpha()):
            others.add(folded(words[0]))
            continue
        given.update(map(folded, words[:1]))
        family.update(map(folded, words[1:]))
        if len(words) > 1:
            others.add(folded("".join(words)))  # as handles have it
    return given, family - given, others - given - family


def _meant(key: str, match: re.Match[str]) -> bool:
    """Whether the word is the name: of one that is a common word as well, the capital tells."""
    word = match[0]
    if key in _WORDS or len(key) < 3:
        if not word[0].isupper():
            return bool(_UNSPACED.match(word))
        return key not in _BEGIN or not _STARTS.search(match.string, max(0, match.start() - 20), match.start())
    return True


def _number(who: str) -> bool:
    return sum(map(str.isdigit, who)) >= 6 and not any(map(str.isalpha, who))


def _cased(invention: str, word: str) -> str:
    if len(word) > 1 and word.isupper():
        return invention.upper()
    return invention if word.islower() else invention.title()
