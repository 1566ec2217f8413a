"""Chats, mails and posts that strangers keep in files: each is read with names, or refused by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tools.corpus import detect
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem
from tools.main import main

CASES = Path(__file__).resolve().parents[1] / "../shared/cases/corpora"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")

READ = {  # path: (kind, number of texts by writer, number of items without text)
    "unsup/whatsapp": ("whatsapp", {"Odo": 2, "Mara": 1}, 1),
    "unsup/whatsapp_android": ("whatsapp", {"Odo": 1, "Mara": 1, "+49 151 0000000": 1}, 2),
    "unsup/telegram": ("telegram", {"Odo": 1, "Mara": 1}, 0),
    "unsup/sms": ("signal", {"Odo": 1, "Me": 1}, 0),
    "signal/exp": ("signal", {"Mara Quist": 5, "Oddy": 2, "Lys": 1}, 7),
    "signal/brk": ("signal", {"Mara Quist": 4, "Oddy": 2, "Lys": 1}, 5),
    "sig2/db": ("signal", {"Odo Brink": 1, "Mara Quist": 1}, 1),
    "sig2/signalback.csv": ("signal", {"+15550001111": 1, "Me": 1}, 0),
    "p2/05_chat65": ("messenger", {"Mara": 3, "Zoë Brînk": 1}, 0),
    "p2/08_slack": ("slack", {"Mara Quist": 5, "Odo Brink": 2}, 4),
    "p2/21_deutsch": ("messenger", {"Odo": 2, "Mara": 2}, 0),
    "msg": ("messenger", {}, 51),
    "slack_two_names": ("slack", {"Odo Brink": 2}, 0),
    "p2/11_parts": ("tweets", {"mara_q": 3}, 0),
    "p2/11b_2018": ("tweets", {"": 1}, 0),
    "p2/16_nul": ("tweets", {"": 1}, 0),
    "p2/17_sigexp": ("signal", {"Odo": 1, "Me": 1}, 4),
    "p2/18_dialogue.txt": ("text", {"": 2}, 0),
    "p2/22_rep": ("messenger", {"Odo": 400}, 0),
}
REFUSED = {  # path: the words that name it
    "unsup/chatgpt": "conversations with ChatGPT",
    "unsup/discord_exporter": "a chat of Discord",
    "unsup/discord_pkg": "messages from a download of Discord",
    "unsup/eml": "an e-mail",
    "unsup/fbposts": "posts of Facebook",
    "unsup/gchat": "a chat of Google Chat",
    "unsup/hangouts": "chats of Google Hangouts",
    "unsup/irc": "a chat log",
    "unsup/kindle": "clippings of a Kindle",
    "unsup/mastodon": "posts of Mastodon",
    "unsup/srt": "subtitles",
    "unsup/telegram_html": "export it again as machine-readable JSON",
    "sig2/sbt": "signalbackup-tools",
    "sig2/sigtop": "sigtop",
    "sig2/sigtoptxt": "sigtop",
    "p2/17_sigexp/Odo/chat.md": "a chat log",
}


def import_case(name: str) -> tuple[list[str], list[ImportItem]]:
    """Returns the kinds and all items, the files that were refused among them."""
    result = detect.detect_kinds(CASES / name)
    items = [item for group in result.groups for item in detect.read_items(group)]
    return [group.kind for group in result.groups], [*result.damaged, *items]


@pytest.mark.parametrize("name", READ)
def test_a_chat_is_read_with_its_writers(name: str) -> None:
    kind, writers, skipped = READ[name]
    kinds, items = import_case(name)
    assert kinds == [kind]
    assert Counter(item.who for item in items if isinstance(item, Record)) == writers
    assert sum(isinstance(item, SkippedItem) for item in items) == skipped


@pytest.mark.parametrize("name", REFUSED)
def test_another_format_is_refused_by_name(name: str) -> None:
    kinds, items = import_case(name)
    assert kinds == []
    (item,) = items
    assert isinstance(item, DamagedItem)
    assert REFUSED[name] in item.reason
    assert item.reason.endswith(("--as text", "--as html", "--as table"))


def test_messages_in_html_are_refused_with_the_cure() -> None:
    kinds, items = import_case("html_only")
    assert kinds == ["messenger"]
    assert [item.reason for item in items if isinstance(item, DamagedItem)] == [
        "1 file of messages is HTML: request a download in JSON"
    ]
    assert not any(isinstance(item, Record) for item in items)


def test_the_report_names_the_sentence_that_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path))
    assert main(["corpus", "add", str(CASES / "p2/22_rep"), "--name", "x"]) == 0
    assert main(["corpus", "report", "x"]) == 0
    out = capsys.readouterr().out
    assert "! 200 texts (50 %) are the same, 'Odo hat einen Anhang gesendet.'" in out
    main(["corpus", "clean", "x", "--drop", "Odo hat einen Anhang gesendet."])
    main(["corpus", "report", "x"])
    assert "the same" not in capsys.readouterr().out


def test_no_case_becomes_prose_in_silence() -> None:
    kinds, items = import_case("unsup")
    texts = [item for item in items if isinstance(item, Record) and item.kind == "document"]
    assert {Path(text.source).name for text in texts} <= {"post.md", "post.html", "a.epub", "a.rtf"}
    assert {"whatsapp", "telegram", "signal"} < set(kinds)
