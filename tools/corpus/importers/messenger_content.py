"""Reads one message of Messenger, from either download: its text, or why it has none. Pure.

Facebook adds sentences of its own ("Anna sent a photo."). English ones are recognised by their words and the name that
they begin with; those in other languages stay.
"""

from __future__ import annotations

import re
from typing import Any

from tools.corpus.fields import as_text, as_timestamp, get_nested, repair_latin1

NOTICE = "a system notice"
UNSENT = "an unsent message"
CALL = "a call"
NO_TEXT = "a message without a text"

_MEDIA = {
    "photos": "a photo",
    "videos": "a video",
    "audio_files": "a voice message",
    "gifs": "a GIF",
    "files": "a file",
    "sticker": "a sticker",
    "media": "a photo, a video or a file",
}
_THINGS = (
    "attachment|photo|video|GIF|sticker|link|file|voice message|voice clip|audio clip|audio message|post|reel|story|"
    "location|live location|contact|poll|plan|game|payment|request|friend request|message request"
)
_CALLS = "(?:(?:video|audio|voice|group|missed) )*(?:call|chat)"
_GROUP = "(?:group|chat|conversation)"
_LIKED = "(?:[Ll]iked|[Ll]oved|[Dd]isliked|[Ll]aughed at|[Ee]mphasi[sz]ed|[Qq]uestioned)"
_LIKEABLE = "message|photo|video|image|story|note|post|reel|comment|attachment|link|GIF|sticker"
_PLANNED = "started|ended|created|named|renamed|updated|changed|edited|deleted|cancell?ed|left|joined"
_POSSESSIVE = r"(?:the|your|his|her|their|(?:his|her|their|your) own|\S+(?: \S+)?['’]s)"
# The predicates behind "You " or the sender's name.
_ACTION = re.compile(
    rf"sent (?:an?|\d+|your|the) (?:{_THINGS})s?"
    r"|reacted .{1,40} to (?:your|a|an|their|his|her|.{1,60}['’]s) message"
    rf"|(?:{_LIKED}) (?:an?|your) (?:{_LIKEABLE})"
    rf"|(?:replied|reacted(?: .{{1,16}})?) to {_POSSESSIVE} (?:{_LIKEABLE})(?:(?: with|:) .{{1,16}})?"
    r"|mentioned (?:you|.{1,60}) in (?:an?|your|their|his|her) (?:story|comment|post|note|reel)"
    r"|tagged you in .{1,60}"
    r"|responded [\"“'].{1,40}[\"”'] to .+"
    rf"|(?:{_PLANNED}) (?:an?|the) (?:plan|reminder|event)\b.*"
    r"|(?:opened|replayed|viewed|saved|screenshotted) (?:an?|your|the) (?:\w+ ){0,2}(?:photo|video|message|media)"
    r"|took a screenshot.*"
    r"|(?:edited|forwarded|reported) a message"
    r"|(?:accepted|declined|approved|cancell?ed) (?:an?|your|the) (?:\w+ ){0,3}(?:request|invitation|invite)"
    rf"|left the (?:{_GROUP}|{_CALLS})"
    rf"|joined the (?:{_GROUP}|{_CALLS})(?: .*)?"
    rf"|(?:started|ended) (?:an?|the) {_CALLS}"
    r"|(?:started|stopped) sharing .{1,40}"
    rf"|missed (?:a|an|your|the) {_CALLS}(?: (?:from|with) .+)?"
    r"|called (?:you|[^.!?]{1,60}\.)"
    rf"|(?:added|removed|invited) .+ (?:to|from) the {_GROUP}"
    r"|(?:added|removed|made) .+ (?:as )?an? (?:group )?admin"
    rf"|(?:named|renamed) the {_GROUP} .+"
    rf"|(?:created|changed|removed|cleared|updated) {_POSSESSIVE} "
    rf"(?:{_GROUP}|theme|nickname|emoji|quick reaction)(?: .*)?"
    rf"|created an? (?:{_GROUP}|poll|plan|reminder|event)\b.*"
    rf"|(?:set|cleared) {_POSSESSIVE} (?:nickname|emoji|quick reaction)\b.*"
    r"|(?:pinned|unpinned|unsent|deleted) a message"
    r"|turned (?:on|off) .{1,60}?(?:\. New messages .{1,200})?"
    r"|waved at (?:you|each other|[^.!?]{1,60})"
    r"|voted for .+ in the poll(?:: .*)?"
    r"|shared (?:an?|their|his|her|your) (?:story|link|location|live location|post|reel|contact)"
    r"|are now connected on Messenger",
    re.DOTALL,
)
_OWN_CALL = re.compile(rf"{_CALLS} (?:has )?ended")  # behind the sender's name and 's
_SYSTEM_SENTENCE = re.compile(
    r"Reacted .{1,40} to (?:your|a|an|their|his|her|.{1,60}['’]s) message"
    rf"|(?:{_LIKED}|[Rr]eplied to|[Rr]eacted to|[Mm]entioned you in) (?:an?|your|their) (?:{_LIKEABLE})"
    rf"|(?:The )?(?i:{_CALLS}) (?:has )?ended"
    rf"|Missed (?i:{_CALLS})(?: (?:from|with) .+)?"
    r"|Click (?:for|to (?:see|play|view|open)) (?:the )?(?:audio|video|photo|image|file|attachment|story|post|link)"
    r"|This (?:message|poll|story|post|photo|video|content|reel|note) (?:is|was) (?:no longer|not|never) available.*"
    r"|This message was (?:unsent|deleted).*"
    r"|(?:Attachment|Message|Story|Content|Post) (?:is )?(?:unavailable|no longer available)"
    r"|You can now (?:message and call|call) each other.*"
    r"|Say hi to your new Facebook friend, .+"
    r"|Messages and calls are secured with end-to-end encryption.*",
    re.DOTALL,
)


def repair_text(value: object) -> str:
    """Repairs the encoding of a text and then strips it: before, U+00A0 and U+0085 may be half of a letter."""
    return as_text(repair_latin1(value)) if isinstance(value, str) else ""


def message_time(message: object) -> float | None:
    """Returns when a message was sent."""
    return as_timestamp(get_nested(message, "timestamp_ms") or get_nested(message, "timestamp"))


def message_sender(message: dict[str, Any]) -> str:
    """Returns the sender's name, or ""."""
    return repair_text(str(message.get("sender_name") or message.get("senderName") or ""))


def message_text(message: dict[str, Any], who: str) -> tuple[str, str]:
    """Returns the text and "", or "" and the reason why there is none. A shared link may have a text."""
    if message.get("is_unsent") or message.get("isUnsent"):
        return "", UNSENT
    if message.get("type") == "Call" or "call_duration" in message:
        return "", CALL
    if message.get("type") in ("Subscribe", "Unsubscribe"):
        return "", NOTICE
    text = repair_text(message.get("content")) or repair_text(message.get("text"))
    if text and not is_notice(text, who):
        return text, ""
    if shared := repair_text(get_nested(message, "share", "share_text")):
        return shared, ""
    return "", _skip_reason(message, bool(text))


def is_notice(text: str, who: str) -> bool:
    """Whether Facebook wrote the text."""
    sentence = text.removesuffix(".")
    if _SYSTEM_SENTENCE.fullmatch(sentence):
        return True
    for subject in ("You", who, who.partition(" ")[0]):
        if text.startswith(f"{subject} "):
            start = len(subject) + 1
            return any(_ACTION.fullmatch(whole, start) for whole in (sentence, text, text.removesuffix("!")))
        if who and any(text.startswith(f"{subject}{mark}s ") for mark in "'’"):
            return bool(_OWN_CALL.fullmatch(sentence, len(subject) + 3))
    return False


def _skip_reason(message: dict[str, Any], is_notice: bool) -> str:
    for key, name in _MEDIA.items():
        if message.get(key):
            return name
    if is_notice:
        return NOTICE
    return "a link" if get_nested(message, "share", "link") else NO_TEXT
