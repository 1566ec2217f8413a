"""The table of formats of messages that no importer reads: what each is called, its cure, and how it is recognised.

Pure. Each pattern must be found in the first characters of a file. The order matters: special formats first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

READABLE = "chats of WhatsApp, Telegram, Slack, Messenger and Signal can be read"
AS_TEXT = "to import it with its names and dates: --as text"
AS_PAGE = "to import its text with names and dates: --as html"
AS_MARKUP = "to import it with all its markup: --as text"
OWN_TEXTS = "save the texts of your own messages as .txt"
SIGNAL_ITSELF = "give Signal's own export, or its database"
AS_CHAT_TEXT = "export each chat as text (More, Export chat)"


@dataclass(frozen=True, slots=True)
class UnreadFormat:
    """A format: what it is, the cure, and the patterns that must all be found in the first characters."""

    what: str
    cure: str
    patterns: tuple[re.Pattern[str], ...]

    def matches(self, text: str) -> bool:
        return all(pattern.search(text) for pattern in self.patterns)

    def describe(self, option: str = AS_TEXT) -> str:
        """Returns why a file is not read, with the cure, and the option that imports it nevertheless."""
        return f"{self.what}, not read; {self.cure}; {option}"


def _make_format(what: str, *patterns: str, cure: str = READABLE) -> UnreadFormat:
    return UnreadFormat(what, cure, tuple(re.compile(pattern, re.DOTALL | re.MULTILINE) for pattern in patterns))


def _has_keys(*names: str) -> tuple[str, ...]:
    """Returns the pattern of each key of a JSON object; alternatives are separated by bars."""
    return tuple(rf'"(?:{name})"\s*:' for name in names)


JSON_FORMATS = (
    _make_format("a chat of Discord", r'"guild"\s*:\s*\{', r'"channel"\s*:\s*\{'),
    _make_format("messages from a download of Discord", *_has_keys("ID", "Timestamp", "Contents")),
    _make_format(
        "messages of Slack, but no export",
        r'"ts"\s*:\s*"\d{9,}\.\d+"',
        *_has_keys("user", "text"),
        cure="give the whole ZIP of Slack's own export",
    ),
    _make_format("a chat of Google Chat", r'\{\s*"creator"\s*:\s*\{', *_has_keys("text|created_date")),
    _make_format("chats of Google Hangouts", *_has_keys("conversations", "chat_message|conversation_state|events")),
    _make_format("conversations with ChatGPT", r'"mapping"\s*:\s*\{', *_has_keys("author|create_time|message")),
    _make_format("conversations with Claude", r'"chat_messages"\s*:\s*\['),
    _make_format(
        "conversations with an assistant", r'"role"\s*:\s*"(?:user|system|assistant|human)"', *_has_keys("content")
    ),
    _make_format("posts of Mastodon", r'"orderedItems"\s*:|www\.w3\.org/ns/activitystreams'),
    _make_format("posts of Facebook", r'"data"\s*:\s*\[\s*\{\s*"(?:post|comment|update_timestamp)"\s*:'),
    _make_format(
        "comments of Facebook or Instagram",
        *_has_keys("comments_v2|comments_media_comments|group_(?:posts|comments)_v2"),
    ),
    _make_format("chats of Skype", r'"MessageList"\s*:|"exportDate"\s*:.*"conversations"\s*:'),
    _make_format(
        "a chat of Microsoft Teams", *_has_keys("messageType|chatId|@odata.context"), *_has_keys("body|imdisplayname")
    ),
    _make_format("a chat of Matrix", r'"m\.room\.\w+"'),
    _make_format(
        "a chat of Signal written by sigtop", *_has_keys("sent_at", "conversationId|received_at"), cure=SIGNAL_ITSELF
    ),
    _make_format("chats of Snapchat", *_has_keys("Media Type", "From|IsSender|Created")),
    _make_format("a download of TikTok", r'"Chat ?History'),
    _make_format("a chat of Twitch", *_has_keys("commenter", "content_offset_seconds")),
    _make_format("messages of Zulip", r'"zerver_\w+"\s*:'),
    _make_format("messages of Mattermost", r'"type"\s*:\s*"(?:direct_)?post"\s*,\s*"(?:direct_)?post"\s*:'),
)
PAGE_FORMATS = (
    _make_format(
        "a chat of Telegram in HTML",
        r'class="(?:from_name|message default|message service)',
        cure="export it again as machine-readable JSON",
    ),
    _make_format(
        "a page of a download from Facebook or Instagram",
        r'class="[^"]*\b(?:_3-9[456]|_a6-[a-z]|_2ph[a-z_]|uiBoxWhite|pam)\b',
        cure="request the download in JSON",
    ),
    _make_format("a chat of Discord in HTML", r"chatlog__message"),
    _make_format("a chat of Google Voice", r"hChatLog"),
    _make_format(
        "a chat of iMessage in HTML",
        r'class="(?:message|imessage)',
        r'class="(?:sent|received|bubble|message_part|sender)',
    ),
    _make_format(
        "a chat of Signal in HTML",
        r"<div class=[\"']?msg ",
        cure="give data.json, which signal-export writes beside it",
    ),
)
TEXT_FORMATS = (
    _make_format("a chat of Discord", r"\A={20,}\s*\nGuild: "),
    _make_format("chats of Snapchat", r"^From: [^\n]*\nMedia Type: "),
    _make_format(
        "conversations with an assistant",
        r"^(?:\*\*(?:User|Human|You|Me|Prompt)(?::\*\*|\*\*:)|#+ (?:User|Human|You|Me):?[ \t]*$|(?:#+ )?You said:)",
        r"^(?:\*\*(?:Assistant|ChatGPT|Claude|Gemini|Copilot|Bot|AI|LLM|Response)(?::\*\*|\*\*:)"
        r"|#+ (?:Assistant|ChatGPT|Claude|Gemini|Copilot):?[ \t]*$|(?:#+ )?(?:ChatGPT|Claude|Gemini|Copilot) said:)",
    ),
    _make_format("a mailbox", r"\A>?From [^\n]*\d\d:\d\d[^\n]*\n(?:[A-Za-z][\w-]*:|>From )", cure=OWN_TEXTS),
    _make_format(
        "subtitles",
        r"\A\W*(?:WEBVTT|\[Script Info\])|^\d{1,2}:\d\d(?::\d\d)?[,.]\d{2,3} ?(?:-->|,)\s?\d{1,2}:\d\d",
        cure="remove the times, and save it as .txt",
    ),
    _make_format(
        "clippings of a Kindle",
        r"\A[^\n]+\n- [^\n]+\n\s*\n.*?^={10}\s*$",
        cure="give the books themselves, as text or EPUB",
    ),
    _make_format(
        "a chat of Signal written by sigtop", r"\AConversation: [^\n]*\n+From: [^\n]*\nType: ", cure=SIGNAL_ITSELF
    ),
    _make_format(
        "a chat of Signal written by signalbackup-tools",
        r"\A\[\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?\] (?:\*\*\* )?<",
        cure=SIGNAL_ITSELF,
    ),
    _make_format(
        "a chat of LINE",
        r"\A\W{0,3}LINE\b.{0,300}^\d{1,2}:\d\d[^\n]*\t|\A[^\n]*(?:Chat history (?:with|in) |トーク履歴|聊天記錄)",
    ),
    _make_format("a chat of KakaoTalk", r"\A[^\n]*(?:KakaoTalk Chat|카카오톡)"),
    _make_format(
        "a chat of Zoom",
        r"\A\d\d:\d\d:\d\d\s+From\s+[^\n]+?(?: [Tt]o [^\n]+)? ?:|\A\d\d:\d\d:\d\d\t[^\n\t]+:\t",
    ),
    _make_format("a log of IRC", r"\A(?:--- Log opened|\*{4} BEGIN LOGGING|Session (?:Start|Time):)"),
)
E_MAIL = UnreadFormat("an e-mail", OWN_TEXTS, ())
UNKNOWN_JSON = UnreadFormat("messages of an unknown program", READABLE, ())
UNKNOWN_PAGE = UnreadFormat("a page of messages of an unknown program", READABLE, ())
UNKNOWN_LOG = UnreadFormat("a chat log of an unknown program", READABLE, ())
_WHATSAPP_BACKUP = UnreadFormat("an encrypted backup of WhatsApp", AS_CHAT_TEXT, ())
FORMATS_BY_SUFFIX = {
    ".msg": UnreadFormat("a message of Outlook", OWN_TEXTS, ()),
    ".pst": UnreadFormat("a mailbox of Outlook", OWN_TEXTS, ()),
    ".crypt12": _WHATSAPP_BACKUP,
    ".crypt14": _WHATSAPP_BACKUP,
    ".crypt15": _WHATSAPP_BACKUP,
}
UNKNOWN_TABLE = UnreadFormat("messages of an unknown program", READABLE, ())
TABLES = (  # columns in lower case
    (UnreadFormat("a chat of Discord", READABLE, ()), {"author", "date", "content", "attachments"}),
    (UnreadFormat("messages from a download of Discord", READABLE, ()), {"timestamp", "contents", "attachments"}),
    (UnreadFormat("messages of LinkedIn", READABLE, ()), {"conversation id", "from", "content"}),
    (UnreadFormat("a chat of KakaoTalk", READABLE, ()), {"date", "user", "message"}),
)
