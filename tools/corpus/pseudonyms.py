"""Names that nobody here has, for those that somebody has. Pure: the same name and secret, the same invention."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

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
    """A large one that hangs on these alone, and from which nobody without the secret gets back to them."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=16, key=_derive_key(secret)).digest())


def invent_word(secret: str, *parts: str | int) -> str:
    """A word of two syllables that means nothing."""
    left, letters = keyed_hash(secret, "word", *parts), []
    for choice in _SYLLABLES:
        left, at = divmod(left, len(choice))
        letters.append(choice[at])
    return "".join(letters)


def invent_names(given: Iterable[str], family: Iterable[str], others: Iterable[str], secret: str) -> dict[str, str]:
    """An invented one for each, all in small letters, no two alike and none of them real here; `others` get words."""
    kinds = {name: () for name in others} | dict.fromkeys(family, FAMILY_NAMES) | dict.fromkeys(given, GIVEN_NAMES)
    taken = set(kinds)
    inventions = {}
    for name in sorted(kinds):  # in whatever order they were found
        inventions[name] = _choose_unused(name, kinds[name], taken, secret)
        taken.add(inventions[name])
    return inventions


def _choose_unused(name: str, choice: tuple[str, ...], used: set[str], secret: str) -> str:
    start = keyed_hash(secret, "name", name)
    for step in range(len(choice)):
        if (found := choice[(start + step) % len(choice)]) not in used:
            return found
    tries = 0
    while (found := invent_word(secret, name, tries)) in used:
        tries += 1
    return found


def _derive_key(secret: str) -> bytes:
    return blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=32).digest()
