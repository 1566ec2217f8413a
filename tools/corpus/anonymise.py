"""Names, numbers and addresses -> stable invented ones, in what is written and in who wrote it. Pure.

It knows the names of those who write or whom an export names, and what looks like a handle, a link, an e-mail
address, a telephone number or a street. It cannot know nicknames, others who are spoken of, places, nor what somebody
did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from tools.corpus import pseudonyms
from tools.corpus.name_match import fold_name
from tools.corpus.record import Record

ANONYMITY_LIMITS = (
    "--anonymous cannot know nicknames, people whom no export names, places and deeds: "
    "read corpus show before you give a model away"
)

# Parts of names that are no names.
_PARTICLE_LIST = "a al and bin da de del della der di dos du el ibn la le mac of the van von y zu"
# Names that a sentence is more likely to mean otherwise where it begins with them, or has them small.
_COMMON_WORD_LIST = """
    an angel april art august baker bell bill black bob brook brown bush chance chase christian church clay cook cox
    dean do dawn day drew duke earl faith fox frank gene glen good grace grant gray green guy hall harry hope hunt ivy
    jack jean jewel joy june jo king lake lane law little long lord love major man many mark marsh may max miles
    moon more mike ng no nick noble norm oh olive page park pat penny pepper pet pierce place poppy price prince ray
    rich rider river rob robin rock rose ruby sage sandy sky so star stone sue summer sun tan to tom too trip turner
    victor violet walker ward wells white will win wise wood wu yang you young
"""
_SENTENCE_STARTER_LIST = "an do good little long many may more no oh so to too will you"
_PARTICLES = frozenset(_PARTICLE_LIST.split())
_COMMON_WORDS = frozenset(_COMMON_WORD_LIST.split())
_SENTENCE_STARTERS = frozenset(_SENTENCE_STARTER_LIST.split())

_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_STREETS = "Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Boulevard|Blvd|Terrace|Crescent|Close|Way"
_DATE = r"\d{4}([-./ ])\d\d?\1\d\d?(?:[ T]\d\d?)?|\d\d?([-./ ])\d\d?\2\d{4}(?: \d\d?)?|[12]\d{3} ?- ?[12]\d{3}"
_NOT_PHONE = re.compile(rf"{_DATE}|\d+\.\d+")
_IDENTIFYING_PART = re.compile(
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
_SENTENCE_START = re.compile(r"(?:\A|[.!?:\n\"“(])[ \t]*\Z")


def collect_writers(records: Iterable[Record]) -> frozenset[str]:
    """Everybody who writes."""
    return frozenset(record.who for record in records if record.who)


class Pseudonymiser:
    """What stands for what."""

    def __init__(self, names: Iterable[str], secret: str) -> None:
        self._secret = secret
        given, family, others = _split_names(names)
        self._pseudonyms = pseudonyms.invent_names(given, family, others, secret)
        unspaced = sorted((name for name in self._pseudonyms if _UNSPACED.search(name) and len(name) > 1), key=len)
        self._unspaced = re.compile("|".join(map(re.escape, reversed(unspaced)))) if unspaced else None

    def replace_name(self, who: str) -> str:
        """Of one who writes: each part of the name has its own invention."""
        if who.startswith("@"):
            return f"@{self._handle_pseudonym(who[1:])}"
        if _is_phone_number(who):
            return self.anonymise_text(who)
        return re.sub(r"\w+", lambda match: self._replace_name_part(match[0]), who)

    def anonymise_record(self, record: Record) -> Record:
        """The same, told by nobody; threads and files have numbers for names, since these may be people's."""
        return replace(
            record,
            text=self.anonymise_text(record.text),
            who=self.replace_name(record.who),
            thread=record.thread and self._numbered_name("thread", record.thread),
            source=self._numbered_name("file", record.source),
        )

    def anonymise_text(self, text: str) -> str:
        """Names in it, handles, links, addresses, numbers."""
        return _IDENTIFYING_PART.sub(self._replace_match, text)

    def _numbered_name(self, kind: str, name: str) -> str:
        return f"{kind} {pseudonyms.keyed_hash(self._secret, kind, name) % 16**8:08x}"

    def _replace_name_part(self, word: str) -> str:
        found = self._pseudonyms.get(fold_name(word))
        return word if found is None else _match_case(found, word)

    def _replace_match(self, match: re.Match[str]) -> str:
        kind, found = match.lastgroup, match[0]
        if kind == "word":
            return self._replace_word(match)
        if kind == "link":
            end = found[len(found.rstrip(".,;:!?)]'’”")) :]
            return f"https://example.org/{pseudonyms.invent_word(self._secret, found.removesuffix(end))}{end}"
        if kind == "mail":
            return f"{pseudonyms.invent_word(self._secret, fold_name(found))}@example.org"
        if kind == "handle":
            return f"@{self._handle_pseudonym(found[1:])}"
        if kind == "phone":
            return found if _NOT_PHONE.fullmatch(found) else self._fake_phone(found)
        return self._fake_address(kind or "", found)

    def _replace_word(self, match: re.Match[str]) -> str:
        word = match[0]
        key = fold_name(word)
        found = self._pseudonyms.get(key)
        if found is None and len(key) > 4 and key.endswith("s") and key[:-1] not in _COMMON_WORDS:
            genitive = self._pseudonyms.get(key[:-1])
            found = None if genitive is None else f"{genitive}s"
        if found is None:
            return self._replace_unspaced(word) if self._unspaced else word
        return _match_case(found, word) if _is_name(key, match) else word

    def _replace_unspaced(self, word: str) -> str:
        """Names in a script that puts no blanks between words."""
        if self._unspaced is None or not _UNSPACED.search(word):
            return word
        return self._unspaced.sub(lambda match: _match_case(self._pseudonyms[match[0]], match[0]), word)

    def _handle_pseudonym(self, handle: str) -> str:
        known = self._pseudonyms.get(fold_name(handle))
        tries = 0
        while known is None:
            made = pseudonyms.invent_word(self._secret, "handle", fold_name(handle), tries)
            known, tries = None if made in self._pseudonyms else made, tries + 1
        return known

    def _fake_phone(self, number: str) -> str:
        """Of the same shape; it begins with 555, which few real ones do."""
        digits = iter("555" + str(pseudonyms.keyed_hash(self._secret, "phone", re.sub(r"\D", "", number)) + 10**20))
        return re.sub(r"\d", lambda _: next(digits), number)

    def _fake_address(self, kind: str, address: str) -> str:
        chosen = pseudonyms.keyed_hash(self._secret, kind, fold_name(address))
        if kind == "postcode":
            return re.sub(r"\d", lambda _: "0", re.sub(r"[A-Z]", "X", address))
        return f"{chosen % 97 + 2} {pseudonyms.FAMILY_NAMES[chosen // 97 % len(pseudonyms.FAMILY_NAMES)].title()} Road"


def _split_names(names: Iterable[str]) -> tuple[set[str], set[str], set[str]]:
    """The parts of all names, folded: given names, family names, and what is rather a handle."""
    given: set[str] = set()
    family: set[str] = set()
    others: set[str] = set()
    for name in names:
        words = [word for word in re.findall(r"\w+", name) if len(word) > 1 and not word.isdigit()]
        words = [word for word in words if fold_name(word) not in _PARTICLES]
        if len(words) == 1 and (words[0].islower() or not words[0].isalpha()):
            others.add(fold_name(words[0]))
            continue
        given.update(map(fold_name, words[:1]))
        family.update(map(fold_name, words[1:]))
        if len(words) > 1:
            others.add(fold_name("".join(words)))  # as handles have it
    return given, family - given, others - given - family


def _is_name(key: str, match: re.Match[str]) -> bool:
    """Whether the word is the name: of one that is a common word as well, the capital tells."""
    word = match[0]
    if key in _COMMON_WORDS or len(key) < 3:
        if not word[0].isupper():
            return bool(_UNSPACED.match(word))
        return key not in _SENTENCE_STARTERS or not _SENTENCE_START.search(
            match.string, max(0, match.start() - 20), match.start()
        )
    return True


def _is_phone_number(who: str) -> bool:
    return sum(map(str.isdigit, who)) >= 6 and not any(map(str.isalpha, who))


def _match_case(pseudonym: str, word: str) -> str:
    if len(word) > 1 and word.isupper():
        return pseudonym.upper()
    return pseudonym if word.islower() else pseudonym.title()
