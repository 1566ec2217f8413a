"""Replaces names, numbers and addresses by stable pseudonyms, in texts and in the names of writers. Pure.

This module knows the names of writers and of people that an export lists. It recognises handles, links, e-mail
addresses, telephone numbers and street addresses. It cannot know nicknames, other people, places, or events.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

from tools.corpus.record import Record

ANONYMITY_LIMITS = (
    "--anonymous cannot know nicknames, people that no export names, places and events: "
    "read the output of corpus show before you publish a model"
)

# Particles of names, which are not replaced.
_PARTICLE_LIST = "a al and bin da de del della der di dos du el ibn la le mac of the van von y zu"
# Names that are also common words: replaced only if capitalised.
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


class Pseudonymiser:
    """Replaces names and numbers by pseudonyms, which depend only on the names and the secret."""

    def __init__(self, names: Iterable[str], secret: str) -> None:
        self._secret = secret
        given_names, family_names, others = _split_names(names)
        self._pseudonyms = invent_names(given_names, family_names, others, secret)
        unspaced = sorted((name for name in self._pseudonyms if _UNSPACED.search(name) and len(name) > 1), key=len)
        self._unspaced = re.compile("|".join(map(re.escape, reversed(unspaced)))) if unspaced else None

    def replace_name(self, who: str) -> str:
        """Returns the pseudonym of a writer; each part of the name has its own pseudonym."""
        if who.startswith("@"):
            return f"@{self._handle_pseudonym(who[1:])}"
        if _is_phone_number(who):
            return self.anonymise_text(who)
        return re.sub(r"\w+", lambda match: self._replace_name_part(match[0]), who)

    def anonymise_record(self, record: Record) -> Record:
        """Returns the record with pseudonyms. Threads and files get numbers, since their names may be people's."""
        return replace(
            record,
            text=self.anonymise_text(record.text),
            who=self.replace_name(record.who),
            thread=record.thread and self._numbered_name("thread", record.thread),
            source=self._numbered_name("file", record.source),
        )

    def anonymise_text(self, text: str) -> str:
        """Replaces names, handles, links, addresses and numbers in a text."""
        return _IDENTIFYING_PART.sub(self._replace_match, text)

    def _numbered_name(self, kind: str, name: str) -> str:
        return f"{kind} {keyed_hash(self._secret, kind, name) % 16**8:08x}"

    def _replace_name_part(self, word: str) -> str:
        pseudonym = self._pseudonyms.get(fold_name(word))
        return word if pseudonym is None else _match_case(pseudonym, word)

    def _replace_match(self, match: re.Match[str]) -> str:
        kind, text = match.lastgroup, match[0]
        if kind == "word":
            return self._replace_word(match)
        if kind == "link":
            end = text[len(text.rstrip(".,;:!?)]'’”")) :]
            return f"https://example.org/{invent_word(self._secret, text.removesuffix(end))}{end}"
        if kind == "mail":
            return f"{invent_word(self._secret, fold_name(text))}@example.org"
        if kind == "handle":
            return f"@{self._handle_pseudonym(text[1:])}"
        if kind == "phone":
            return text if _NOT_PHONE.fullmatch(text) else self._fake_phone(text)
        return self._fake_address(kind or "", text)

    def _replace_word(self, match: re.Match[str]) -> str:
        word = match[0]
        key = fold_name(word)
        pseudonym = self._pseudonyms.get(key)
        if pseudonym is None and len(key) > 4 and key.endswith("s") and key[:-1] not in _COMMON_WORDS:
            genitive = self._pseudonyms.get(key[:-1])
            pseudonym = None if genitive is None else f"{genitive}s"
        if pseudonym is None:
            return self._replace_unspaced(word) if self._unspaced else word
        return _match_case(pseudonym, word) if _is_name(key, match) else word

    def _replace_unspaced(self, word: str) -> str:
        """Replaces names inside a word of a script without blanks."""
        if self._unspaced is None or not _UNSPACED.search(word):
            return word
        return self._unspaced.sub(lambda match: _match_case(self._pseudonyms[match[0]], match[0]), word)

    def _handle_pseudonym(self, handle: str) -> str:
        pseudonym = self._pseudonyms.get(fold_name(handle))
        tries = 0
        while pseudonym is None:
            word = invent_word(self._secret, "handle", fold_name(handle), tries)
            pseudonym, tries = None if word in self._pseudonyms else word, tries + 1
        return pseudonym

    def _fake_phone(self, number: str) -> str:
        """Returns a number of the same shape that begins with 555, which few real numbers do."""
        digits = iter("555" + str(keyed_hash(self._secret, "phone", re.sub(r"\D", "", number)) + 10**20))
        return re.sub(r"\d", lambda _: next(digits), number)

    def _fake_address(self, kind: str, address: str) -> str:
        hashed = keyed_hash(self._secret, kind, fold_name(address))
        if kind == "postcode":
            return re.sub(r"\d", lambda _: "0", re.sub(r"[A-Z]", "X", address))
        return f"{hashed % 97 + 2} {FAMILY_NAMES[hashed // 97 % len(FAMILY_NAMES)].title()} Road"


def _split_names(names: Iterable[str]) -> tuple[set[str], set[str], set[str]]:
    """Returns the parts of all names, folded: given names, family names, and handles."""
    given_names: set[str] = set()
    family_names: set[str] = set()
    handles: set[str] = set()
    for name in names:
        words = [word for word in re.findall(r"\w+", name) if len(word) > 1 and not word.isdigit()]
        words = [word for word in words if fold_name(word) not in _PARTICLES]
        if len(words) == 1 and (words[0].islower() or not words[0].isalpha()):
            handles.add(fold_name(words[0]))
            continue
        given_names.update(map(fold_name, words[:1]))
        family_names.update(map(fold_name, words[1:]))
        if len(words) > 1:
            handles.add(fold_name("".join(words)))  # a handle is often the joined name
    return given_names, family_names - given_names, handles - given_names - family_names


def _is_name(key: str, match: re.Match[str]) -> bool:
    """Whether the word is a name: a common word must be capitalised, and some must not begin a sentence."""
    word = match[0]
    if key in _COMMON_WORDS or len(key) < 3:
        if not word[0].isupper():
            return bool(_UNSPACED.match(word))
        start = match.start()
        return key not in _SENTENCE_STARTERS or not _SENTENCE_START.search(match.string, max(0, start - 20), start)
    return True


def _is_phone_number(who: str) -> bool:
    return sum(map(str.isdigit, who)) >= 6 and not any(map(str.isalpha, who))


def _match_case(pseudonym: str, word: str) -> str:
    if len(word) > 1 and word.isupper():
        return pseudonym.upper()
    return pseudonym if word.islower() else pseudonym.title()


def fold_name(name: str) -> str:
    """Returns the name without case and accents, for comparison."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


_GIVEN_NAME_LIST = """
    abel ada agatha albin alma ambrose anselm arvid asta augusta barnaby beatrix berta blaise bruno cedric celia
    clemens clio conrad cora cyril dagny darius delia edith egon elsa emil enid erwin esther ezra fabian fay felix
    fenella flora gideon gilda greta gunnar hedda hector hester hugo ida ignatz imogen irma ivo jasper jonas judith
    junia kaspar kilian klara lambert leda leopold linus livia lorenz lucian ludo mabel magnus malwine marius matilda
    melvin mina moritz nadia nestor nora odette olaf oscar otto ottilie paula percy petra phoebe quentin ralf ramona
    regina rufus sabine selma sigrid silas stella tabea thea tilda tobias ulrich undine ursula valentin vera viggo
    vilma wanda wendel wilma winfred xaver yvette zeno zelda
"""
_FAMILY_NAME_LIST = """
    abbot alder amberg ashdown barlow beckwith bellamy birk blackwood bramley brandt brook calder carlow castell
    claymore corbin dalby darrow delmar drummond eastman eckhart elmore fairburn falkner farrow fenwick garland gilroy
    glover grantham hadley halloran harker hartwell hollis holm ingram jarvis jessop keaton kendrick kirby lachlan
    langley larkin linden lockhart marlow mercer merrick milford nordahl norwood oakley osborn paxton pemberton
    pickering prescott quimby radley ransome redfern rowland rutland sandoval selwyn sheldon stanhope starling sutton
    tarleton thorne tilbury upton vance verner wadham wakefield walden weston whitlock winslow yardley
"""
GIVEN_NAMES = tuple(_GIVEN_NAME_LIST.split())
FAMILY_NAMES = tuple(_FAMILY_NAME_LIST.split())
_ONSETS = "b br d dr f g gr h k kl l m n p pr r s st t tr v w"
_VOWELS = "a e i o u ai ea ou"
_CODAS = "ck d l ll m n nd r rk s st t th x"
_SYLLABLES = (_ONSETS.split(), _VOWELS.split(), _ONSETS.split(), _VOWELS.split(), _CODAS.split())


def keyed_hash(secret: str, *parts: str | int) -> int:
    """Returns a 128-bit hash. Guesses of the parts cannot be tested without the secret."""
    key = blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=16, key=key).digest())


def invent_word(secret: str, *parts: str | int) -> str:
    """Returns a meaningless word of two syllables."""
    number, letters = keyed_hash(secret, "word", *parts), []
    for choices in _SYLLABLES:
        number, index = divmod(number, len(choices))
        letters.append(choices[index])
    return "".join(letters)


def invent_names(given: Iterable[str], family: Iterable[str], others: Iterable[str], secret: str) -> dict[str, str]:
    """Returns a unique lower-case pseudonym for each name, and never one of these names; `others` become words."""
    choices = {name: () for name in others} | dict.fromkeys(family, FAMILY_NAMES) | dict.fromkeys(given, GIVEN_NAMES)
    used = set(choices)
    pseudonyms = {}
    for name in sorted(choices):  # the result does not depend on the order of the names
        pseudonyms[name] = _choose_unused(name, choices[name], used, secret)
        used.add(pseudonyms[name])
    return pseudonyms


def _choose_unused(name: str, choices: tuple[str, ...], used: set[str], secret: str) -> str:
    start = keyed_hash(secret, "name", name)
    for step in range(len(choices)):
        if (candidate := choices[(start + step) % len(choices)]) not in used:
            return candidate
    tries = 0
    while (candidate := invent_word(secret, name, tries)) in used:
        tries += 1
    return candidate
