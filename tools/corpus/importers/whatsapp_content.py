"""Tells the words of a person from those of WhatsApp, by their shape and in any language. Pure.

An iPhone puts U+200E before each text of WhatsApp itself. Android writes media as `<Media omitted>`, or as a file name
with a phrase in brackets. The phrases of a file are learned from the file; a few notices without any mark are listed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tools.corpus.fields import describe_attachment
from tools.corpus.importers.whatsapp_dates import MARKS

OWN_MARK = "\u200e"  # LEFT-TO-RIGHT MARK, before the texts of WhatsApp
MARK_CHARACTERS = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
NOTICE = "a system notice"
DELETED = "a deleted message"
MEDIA = "a photo, a video or a file"
MIN_REPEATS = 2  # after which a phrase of a file is believed

_ATTACHED = re.compile(r"<[^<>:\n]{1,40}: ?(?P<file>[^<>\n]{1,255})>")  # iPhone: <attached: 1-PHOTO.jpg>
_MEDIA_FILE = re.compile(r"(?P<file>[A-Z]{3}-\d{8}-WA\d{4,}\.\w{2,5}) (?P<phrase>[(<][^()<>\n]{2,60}[)>])")
_NAMED_FILE = re.compile(r"(?P<file>[^\n/\\]{1,250}\.\w{1,5}) (?P<phrase>[(<][^()<>\n]{2,60}[)>])")
_OMITTED = re.compile(r"<(?=[^<>\n]*(?:\s|[^\x00-\x7f]))[^<>\n]{4,60}>")  # <Media omitted>; <sigh> is a person's
_CONTACT = re.compile(r"[^\n]{1,250}\.vcf(?: [(<][^()<>\n]{2,60}[)>])?")
_LOCATION = re.compile(r"[^\n:]{1,40}: https://(?:maps\.google\.com|www\.google\.com/maps|maps\.app\.goo\.gl)/\S+")
_TAIL = re.compile(rf"[ \n]?(?P<mark>{OWN_MARK}?)(?P<phrase><[^<>\n]{{4,300}}>)\s*\Z")
_MARKED_TAIL = re.compile(rf"(?<=\S)[ \n]{OWN_MARK}(?P<phrase>[^\n{OWN_MARK}]{{3,60}})\Z")
_DOCUMENT = re.compile(  # iPhone: report.pdf • 3 pages document omitted, with U+200E before the number and the phrase
    rf"[^\n]{{1,250}}? • {OWN_MARK}\d[^\n{OWN_MARK}]{{1,24}}(?: {OWN_MARK}[^\n{OWN_MARK}]{{3,60}})?"
    rf"|[^\n]{{1,250}} {OWN_MARK}document omitted"
)
_ENCRYPTION = re.compile(  # in the first notice of each chat
    r"end[- ]to[- ]end|ende-zu-ende|bout en bout|extremo a extremo|ponta a ponta|uçtan uca|сквозн|наскрізн|end-til-end|"
    r"ende-til-ende|totalsträcks|päästä päähän|od końca do końca|kompleksow|koncov|végpontok|đầu cuối|ujung ke ujung|"
    r"端到端|端對端|エンドツーエンド|종단간|טווח לטווח|مشفرة|सिरे से सिरे|शुरू से अंत",
    re.IGNORECASE,
)
_POLL_OPTION = re.compile(rf"^[{MARKS}]*[^\W\d_]+: .+ \([{MARKS}]*\d+ [^()\n]+\)[{MARKS}]*$", re.MULTILINE)
_MENTION = re.compile("@[\u2066-\u2068]([^\u2066-\u2069\n]{1,100})\u2069")

# Where neither mark nor bracket tells: Android's notices in the place of a message.
_DELETED_TEXTS = frozenset(
    """
    This message was deleted|You deleted this message|This message was deleted by admin
    Diese Nachricht wurde gelöscht|Du hast diese Nachricht gelöscht
    Ce message a été supprimé|Vous avez supprimé ce message
    Se eliminó este mensaje|Eliminaste este mensaje|Este mensaje fue eliminado|Has eliminado este mensaje
    Questo messaggio è stato eliminato|Hai eliminato questo messaggio
    Mensagem apagada|Você apagou esta mensagem|Esta mensagem foi apagada|Apagou esta mensagem
    Dit bericht is verwijderd|U hebt dit bericht verwijderd|Je hebt dit bericht verwijderd
    Det här meddelandet togs bort|Du tog bort det här meddelandet
    Denne besked blev slettet|Du slettede denne besked|Denne meldingen ble slettet|Du slettet denne meldingen
    Tämä viesti poistettiin|Poistit tämän viestin
    Ta wiadomość została usunięta|Usunięto tę wiadomość|Tato zpráva byla smazána|Tuto zprávu jste smazali
    Данное сообщение удалено|Вы удалили данное сообщение|Сообщение удалено|Вы удалили это сообщение
    Bu mesaj silindi|Bu mesajı sildiniz|Pesan ini telah dihapus|Anda menghapus pesan ini
    यह मैसेज डिलीट किया गया|您刪除了這則訊息|此消息已被删除|您已删除此消息|已刪除此訊息
    このメッセージは削除されました|삭제된 메시지입니다|تم حذف هذه الرسالة|لقد حذفت هذه الرسالة
    ההודעה נמחקה|ההודעה הזו נמחקה
    """.replace("\n", "|")
    .replace("    ", "")
    .strip("|")
    .split("|")
)
_EDITED_PHRASES = frozenset(
    """
    <This message was edited>|<Diese Nachricht wurde bearbeitet.>|<Diese Nachricht wurde bearbeitet>
    <Ce message a été modifié>|<Se editó este mensaje.>|<Se editó este mensaje>|<Questo messaggio è stato modificato>
    <Mensagem editada>|<Esta mensagem foi editada>|<Dit bericht is bewerkt>
    """.replace("\n", "|")
    .replace("    ", "")
    .strip("|")
    .split("|")
)
_OTHER_NOTICES = frozenset(  # in small letters
    """
    null|missed voice call|missed video call|missed group voice call|missed group video call|live location shared
    waiting for this message. this may take a while|you received a view once message|live-standort wird geteilt
    localisation en direct partagée|position en direct partagée|ubicación en tiempo real compartida
    se compartió ubicación en tiempo real|posizione attuale condivisa|localização em tempo real compartilhada
    live locatie gedeeld|verpasster sprachanruf|verpasster videoanruf|appel vocal manqué|appel vidéo manqué
    llamada perdida|videollamada perdida
    """.replace("\n", "|")
    .replace("    ", "")
    .strip("|")
    .split("|")
)
_MEDIA_WORDS = ("image", "video", "audio", "sticker", "GIF", "document", "Contact card", "video note")
_OMITTED_TEXTS = frozenset(f"{word} omitted" for word in _MEDIA_WORDS)
_SUFFIX_KINDS = {
    "image": "jpg jpeg png gif webp heic",
    "video": "mp4 mov 3gp mkv",
    "audio": "opus m4a mp3 aac ogg amr wav",
}


@dataclass(slots=True)
class WhatsAppPhrases:
    """The phrases of WhatsApp in one file, with their numbers. Filled by `add_text`."""

    marked: Counter[str] = field(default_factory=Counter)  # whole first lines behind U+200E
    in_brackets: Counter[str] = field(default_factory=Counter)  # behind the name of a file
    tails: Counter[str] = field(default_factory=Counter)  # at the end of a text

    def add_text(self, text: str) -> None:
        """Learns from the first line of a message."""
        bare = text.lstrip(MARK_CHARACTERS)
        if text.startswith(OWN_MARK) and len(bare) <= 60:
            self.marked[bare] += 1
        elif tail := _TAIL.search(text):
            self.tails[tail["phrase"]] += 1
        if media := _MEDIA_FILE.match(bare):
            self.in_brackets[media["phrase"]] += 1


def attached_file(text: str) -> str:
    """Returns the name of the file that a message's first line attaches, or ""."""
    first = text.partition("\n")[0].lstrip(MARK_CHARACTERS)
    match = _ATTACHED.search(first) or _NAMED_FILE.fullmatch(first.strip())
    return match["file"] if match else ""


def message_text(text: str, phrases: WhatsAppPhrases) -> tuple[str, str]:
    """Returns the person's text and "", or "" and the reason why there is none."""
    first, _, caption = text.partition("\n")
    bare = text.lstrip(MARK_CHARACTERS).rstrip(". \n")
    if bare in _DELETED_TEXTS:
        return "", DELETED
    if len(_POLL_OPTION.findall(caption)) >= 2:
        return "", "a poll"
    if reason := _media_reason(first, phrases):
        return (clean_text(caption, phrases), "") if caption.strip() else ("", reason)
    if text.startswith(OWN_MARK) or bare.lower() in _OTHER_NOTICES:
        return "", NOTICE
    text = clean_text(text, phrases)
    return text, "" if text else "an empty message"


def _media_reason(first: str, phrases: WhatsAppPhrases) -> str:
    """Returns what the first line of a message stands for if it is a file, a place or a contact."""
    bare, is_marked = first.strip().lstrip(MARK_CHARACTERS), first.startswith(OWN_MARK)
    if _LOCATION.fullmatch(bare):
        return "a location"
    if _CONTACT.fullmatch(bare):
        return "a contact"
    if attached := _ATTACHED.search(bare) if is_marked else _ATTACHED.fullmatch(bare):
        return _describe_file(attached["file"])
    if media := _MEDIA_FILE.fullmatch(bare):
        return _describe_file(media["file"])
    named = _NAMED_FILE.fullmatch(bare)
    if named and (is_marked or phrases.in_brackets[named["phrase"]] or named["phrase"] == "(file attached)"):
        return _describe_file(named["file"])
    if _DOCUMENT.fullmatch(bare):
        return _describe_file("")
    if _OMITTED.fullmatch(bare) and bare not in _EDITED_PHRASES:
        return MEDIA
    if is_marked and (bare in _OMITTED_TEXTS or phrases.marked[bare] >= MIN_REPEATS):
        return MEDIA
    return ""


def _describe_file(name: str) -> str:
    suffix = name.strip().rpartition(".")[2].lower()
    return describe_attachment(next((kind for kind, names in _SUFFIX_KINDS.items() if suffix in names.split()), ""))


def clean_text(text: str, phrases: WhatsAppPhrases) -> str:
    """Returns the text without the phrases that WhatsApp puts at its end, and with plain mentions."""
    text = _MENTION.sub(r"@\1", text).strip()
    while tail := _TAIL.search(text):
        phrase = tail["phrase"]
        if not (tail["mark"] or phrase in _EDITED_PHRASES or phrases.tails[phrase] > MIN_REPEATS):
            break
        text = text[: tail.start()].rstrip()
    if (marked := _MARKED_TAIL.search(text)) and (
        marked["phrase"] in _OMITTED_TEXTS or phrases.marked[marked["phrase"]] >= MIN_REPEATS
    ):
        text = text[: marked.start()].rstrip()
    return text


def is_encryption_notice(line: str) -> bool:
    """Whether a line says that the chat is encrypted, with which WhatsApp begins it."""
    return bool(_ENCRYPTION.search(line))


def mentioned_names(text: str) -> list[str]:
    """Returns the names of people that a text mentions."""
    return [name.strip("~ \u202f\u00a0") for name in _MENTION.findall(text)]
