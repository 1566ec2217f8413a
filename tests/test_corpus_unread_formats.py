"""Files of messages of other programs, as these write them, and texts that resemble them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus_items import make_folder, records_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.corpus import detect
from tools.corpus.formats.chat_lines import is_chat_log
from tools.corpus.formats.unread_formats import describe_unread

PAGE = '<html><body><div class="{}">Odo</div><div class="{}">Is the pump fixed?</div></body></html>'
MAIL = "From: Odo <odo@example.com>\nSubject: pump\nDate: Mon, 1 Mar 2021 10:00:00 +0000\n\nIs the pump fixed?\n"


def chat_of(*lines: str) -> str:
    return "\n".join(lines) + "\n"


UNREAD = {
    # JSON
    "discord.json": ('{"guild": {"id": "0"}, "channel": {"id": "1"}, "messages": []}', "Discord"),
    "messages.json": (
        '[{"ID": 1, "Timestamp": "2021-03-01 10:00:00", "Contents": "hi", "Attachments": ""}]',
        "Discord",
    ),
    "gchat/messages.json": ('{"messages": [{"creator": {"name": "Odo"}, "text": "hi"}]}', "Google Chat"),
    "Hangouts.json": ('{"conversations": [{"events": [{"chat_message": {}}]}]}', "Hangouts"),
    "conversations.json": ('[{"title": "x", "mapping": {"a": {"message": {}}}}]', "ChatGPT"),
    "claude.json": ('[{"uuid": "1", "chat_messages": [{"text": "hi"}]}]', "Claude"),
    "tuning.jsonl": ('{"messages": [{"role": "user", "content": "hi"}]}\n', "an assistant"),
    "outbox.json": ('{"@context": "https://www.w3.org/ns/activitystreams", "orderedItems": []}', "Mastodon"),
    "your_posts_1.json": ('[{"timestamp": 1, "data": [{"post": "hi"}]}]', "posts of Facebook"),
    "comments.json": ('{"comments_v2": [{"data": []}]}', "comments of Facebook"),
    "skype.json": ('{"userId": "8:odo", "exportDate": "x", "conversations": []}', "Skype"),
    "teams.json": ('{"value": [{"messageType": "message", "body": {"content": "hi"}}]}', "Teams"),
    "element.json": ('{"room_name": "b", "messages": [{"type": "m.room.message"}]}', "Matrix"),
    "sigtop.json": ('[{"id": "a", "sent_at": 1, "conversationId": "x", "body": "hi"}]', "sigtop"),
    "chat_history.json": ('{"odo": [{"From": "odo", "Media Type": "TEXT", "Content": "hi"}]}', "Snapchat"),
    "user_data.json": ('{"Direct Messages": {"Chat History": {"ChatHistory": {}}}}', "TikTok"),
    "twitch.json": ('{"comments": [{"content_offset_seconds": 1, "commenter": {}}]}', "Twitch"),
    "zulip.json": ('{"zerver_message": []}', "Zulip"),
    "mattermost.jsonl": (
        '{"type": "version", "version": 1}\n{"type": "post", "post": {"message": "hi"}}\n',
        "Mattermost",
    ),
    "any.json": ('[{"from": "Odo", "to": "Mara", "message": "hi", "sent_date": "2021-03-01"}]', "unknown program"),
    "any.jsonl": ('{"sender": "Odo", "text": "hi", "timestamp": 1}\n', "unknown program"),
    "camel.json": ('{"items": [{"senderName": "Odo", "body": "hi", "createdAt": 1}]}', "unknown program"),
    # tables
    "discord.csv": (
        'AuthorID,Author,Date,Content,Attachments,Reactions\n"1","odo","2021-03-01","hi","",""\n',
        "Discord",
    ),
    "package.csv": ("ID,Timestamp,Contents,Attachments\n1,2021-03-01 10:00:00,hi,\n", "Discord"),
    "linkedin.csv": (
        "CONVERSATION ID,CONVERSATION TITLE,FROM,TO,DATE,SUBJECT,CONTENT\n1,,Odo,Mara,x,,hi\n",
        "LinkedIn",
    ),
    "kakao.csv": ('Date,User,Message\n2021-03-01 10:00:00,"odo","hi"\n', "Kakao"),
    "any.csv": ("date;sender;text\n2021-03-01;Odo;hi\n", "unknown program"),
    "imazing.csv": (
        '"Chat Session","Message Date","Sender Name","Text"\n"Odo","2021-03-01","Odo","hi"\n',
        "unknown program",
    ),
    "viber.csv": ("01/03/2021,10:00:00,Odo,+491510000000,hi\n01/03/2021,10:01:00,Mara,+491510000001,hi\n", "chat log"),
    "slackdump.json": (
        '{"messages": [{"user": "U1", "text": "hi", "ts": "1621100000.000100"}]}',
        "Slack, but no export",
    ),
    "wce.json": (
        '{"x@s.whatsapp.net": {"messages": {"1": {"from_me": true, "timestamp": 1, "data": "hi"}}}}',
        "unknown",
    ),
    "ig_old.json": ('[{"conversation": [{"sender": "odo", "created_at": "2019", "text": "hi"}]}]', "unknown program"),
    # pages
    "pidgin.html": (
        "<html><title>Conversation with odo</title><body><h3>with odo</h3>"
        "<font>(10:00:00)</font> <b>odo:</b> hi<br/><font>(10:01:00)</font> <b>mara:</b> yes<br/></body></html>",
        "page of messages",
    ),
    "telegram.html": (PAGE.format("from_name", "text"), "Telegram"),
    "facebook.html": (PAGE.format("_3-95 _2pim _a6-h _a6-i", "_3-95 _a6-p"), "Facebook or Instagram"),
    "discord.html": (PAGE.format("chatlog__message-container", "x"), "Discord"),
    "imessage.html": (PAGE.format("message", "sent iMessage"), "iMessage"),
    "voice.html": (PAGE.format("hChatLog hfeed", "x"), "Google Voice"),
    "voice_sender.html": (
        '<html><body><div class="hChatLog hfeed"><div class="message"><cite class="sender vcard">Odo</cite>: hi',
        "Google Voice",
    ),
    "signal.html": (PAGE.format("msg me", "body"), "Signal"),
    "any.html": (PAGE.format("msg-sender", "chat-message") * 3, "page of messages"),
    # texts
    "a.mbox": (f"From odo@example.com Mon Mar  1 10:00:00 2021\n{MAIL}", "mailbox"),
    "a.eml": (MAIL, "e-mail"),
    "a.emlx": (f"1234\n{MAIL}", "e-mail"),
    "mail.txt": (f"Return-Path: <x@y>\nReceived: from a\n\tby b\n{MAIL}", "e-mail"),
    "film.srt": (
        "1\n00:00:01,000 --> 00:00:02,000\nIs it fixed?\n\n2\n00:00:03,000 --> 00:00:04,000\nYes.\n",
        "subtitles",
    ),
    "film.vtt": ("WEBVTT\n\n00:01.000 --> 00:02.000\nIs it fixed?\n", "subtitles"),
    "film.txt": ("\ufeff1\n00:00:01,000 --> 00:00:02,000\nIs it fixed?\n", "subtitles"),
    "film.ass": ("[Script Info]\nTitle: x\n", "subtitles"),
    "Mi portapapeles.txt": ("La bomba (Odo)\n- Tu subrayado en la página 3 | Añadido\n\nAsí.\n==========\n", "Kindle"),
    "sigtop.txt": ("Conversation: Odo\n\nFrom: Odo\nType: incoming\nSent: x\n\nhi\n", "sigtop"),
    "sbt.txt": ("[2023-11-14 22:13] <Odo> hi\n[2023-11-14 22:14] <you> Yes\n", "signalbackup-tools"),
    "chat.md": ("[2024-01-01 10:00] Odo: Is the pump fixed?\n", "chat log"),
    "[LINE] Odo.txt": (chat_of("[LINE] Chat history with Odo", "Saved on: 2021/03/01", "", "10:00\tOdo\thi"), "LINE"),
    "line_ja.txt": (chat_of("[LINE] Odoとのトーク履歴", "2021/03/01(月)", "10:00\tOdo\thi"), "LINE"),
    "line_cut.txt": (chat_of("10:00\tOdo\thi", "10:01\tMara\tyes", "10:02\tOdo\tfine"), "chat log"),
    "kakao_pc.txt": (chat_of("[Odo] [오전 10:00] hi", "[Mara] [오전 10:01] yes"), "chat log"),
    "kakao_ko.txt": (chat_of("Odo 님과 카카오톡 대화", "저장한 날짜 : 2021-03-01", "[Odo] [오전 10:00] hi"), "Kakao"),
    "kakao_phone.txt": (
        chat_of("2021년 3월 1일 오전 10:00, Odo : hi", "2021년 3월 1일 오전 10:01, Mara : y"),
        "chat log",
    ),
    "zoom.txt": ("10:00:00\t From Odo to Everyone : hi\n10:01:00\t From Mara to Everyone : yes\n", "Zoom"),
    "zoom_new.txt": ("00:12:34\tOdo:\thi\n00:12:40\tMara:\tyes\n", "Zoom"),
    "twitch.txt": (chat_of("[2021-03-01 10:00:00 UTC] odo: hi", "[2021-03-01 10:00:01 UTC] mara: yes"), "chat log"),
    "short.txt": (chat_of("[10:00:00] odo: hi", "[10:00:01] mara: yes", "[10:00:02] odo: fine"), "chat log"),
    "irssi.log": (chat_of("--- Log opened Mon Mar 01 10:00:00 2021", "10:00 <@odo> hi"), "IRC"),
    "irssi_cut.log": (chat_of("10:00 <@odo> hi", "10:01 < mara> yes", "10:02 -!- lys has joined #boat"), "chat log"),
    "weechat.log": (chat_of("2021-03-01 10:00:00\todo\thi", "2021-03-01 10:01:00\tmara\tyes"), "chat log"),
    "nicks.txt": (chat_of("<odo> hi", "<mara> yes", "<odo> fine"), "chat log"),
    "znc.log": (chat_of("[10:00:00] <odo> hi", "[10:01:00] <mara> yes", "[10:02:00] *** Joins: lys"), "chat log"),
    "skype.txt": (chat_of("[3/1/2021 10:00 AM] Odo: hi", "[3/1/2021 10:01 AM] Mara: yes"), "chat log"),
    "element.txt": (chat_of("Mon, Mar 1, 2021, 10:00 - Odo: hi", "Mon, Mar 1, 2021, 10:01 - Mara: yes"), "chat log"),
    "iso.txt": (chat_of("2021-03-01T10:00:00Z Odo: hi", "and more", "2021-03-01T10:01:00Z Mara: yes"), "chat log"),
    "wechat.txt": (chat_of("2021-03-01 10:00:00 Odo", "hi", "", "2021-03-01 10:01:00 Mara", "yes"), "chat log"),
    "qq.txt": (chat_of("2021-03-01 10:00:00 Odo(12345)", "hi", "2021-03-01 10:01:00 Mara(12346)", "yes"), "chat log"),
    "imessage.txt": (
        chat_of("Mar 01, 2021 10:00:00 AM", "Odo", "hi", "", "Mar 01, 2021 10:01:00 AM (Read by you)", "Me", "yes"),
        "chat log",
    ),
    "meeting.txt": (
        chat_of("Odo  0:01", "Is the pump fixed?", "", "Mara  0:05", "Yes.", "", "Odo  0:09", "Good."),
        "log",
    ),
    "discord.txt": (chat_of("[01-Mar-21 10:00 AM] odo", "hi", "", "[01-Mar-21 10:01 AM] mara", "yes"), "chat log"),
    "pidgin.txt": (chat_of("Conversation with odo at Mon 01 Mar 2021", "(10:00:00) odo: hi", "(10:01:00) m: y"), "log"),
    "discord_copy.txt": (
        chat_of("odo — Today at 10:00 AM", "hi", "mara — Today at 10:01 AM", "yes", "odo — Today at 10:02 AM", "fine"),
        "chat log",
    ),
    "teams_copy.txt": (
        chat_of("[10:00 AM] Brink, Odo", "hi", "[10:01 AM] Quist, Mara", "y", "[10:02 AM] Brink, Odo", "f"),
        "log",
    ),
    "slack_copy.txt": (
        chat_of("Odo Brink  10:00 AM", "hi", "Mara  10:01 AM", "yes", "Odo Brink  10:02 AM", "fine"),
        "log",
    ),
    # two messages
    "dce.txt": (
        chat_of("=" * 62, "Guild: Boats", "Channel: Text / general", "=" * 62, "", "[01-Mar-21 10:00 AM] odo#1", "hi"),
        "Discord",
    ),
    "telegram_copy.txt": (chat_of("Odo, [01.03.21 10:00]", "hi", "", "Mara, [01.03.21 12:00]", "yes"), "chat log"),
    "telegram_three.txt": (
        chat_of("Odo, [3/1/21 10:00 AM]", "hi", "", "Mara, [3/1/21 11:00 AM]", "yes", "", "Lys, [3/2/21 1:00 PM]", "y"),
        "chat log",
    ),
    "icq.txt": (
        chat_of(
            "-" * 38 + "<-", "Odo (10:00:01 1/03/2021)", "hi", "", "-" * 38 + ">-", "Mara (10:01:01 1/03/2021)", "y"
        ),
        "chat log",
    ),
    "slack_two.txt": (chat_of("Odo Brink  10:00 AM", "hi", "Mara  10:01 AM", "yes"), "chat log"),
    "otter_two.txt": (chat_of("Odo  0:01", "Is it fixed?", "", "Mara  0:05", "Yes."), "chat log"),
    "gtalk.txt": (chat_of("10:00 AM odo: hi", "10:01 AM me: Yes.", "  since Monday"), "chat log"),
    "gtalk_lys.txt": (chat_of("10:00 AM odo: hi", "10:01 AM lys: Yes."), "chat log"),
    "teams_two.txt": (chat_of("[3/1 10:00 AM] Odo Brink", "hi", "[3/1 10:01 AM] Mara", "yes"), "chat log"),
    "teams_date.txt": (chat_of("Odo B 01/03/2021 10:00", "hi", "", "Mara Q 01/03/2021 10:01", "yes"), "chat log"),
    "gchat_two.txt": (chat_of("Odo, 10:00 AM", "hi", "Mara, 10:01 AM", "yes"), "chat log"),
    "signal_copy.txt": (chat_of("10:00, 1 Mar - Odo: hi", "10:01, 1 Mar - Mara: yes"), "chat log"),
    "name_first.txt": (
        chat_of(
            "Odo B (Mar 1, 2021 10:00:00): hi", "Mara (Mar 1, 2021 10:01:00): y", "Odo B (Mar 1, 2021 10:02:00): z"
        ),
        "log",
    ),
    "name_two.txt": (chat_of("ODO (00:01:05): hi", "MARA (00:01:09): yes"), "chat log"),
    "minecraft.log": (
        chat_of("[10:00:00] [Server thread/INFO]: <odo> hi", "[10:00:05] [Server thread/INFO]: <mara> yes"),
        "chat log",
    ),
    "bold.html": (
        "<html><body><p><b>odo</b> [10:00] hi</p><p><b>mara</b> [10:01] yes</p></body></html>",
        "page of mess",
    ),
    "bold.md": (
        chat_of("**odo** — *2021-03-01 10:00*", "> hi", "", "**mara** — *2021-03-01 10:01*", "> y"),
        "chat log",
    ),
    "titled.md": (chat_of("# 2021-03-01", "", "**Odo** (10:00): hi", "**Mara** (10:01): yes"), "chat log"),
    "mattermost.txt": (chat_of("Odo Brink", "10:00 AM", "hi", "", "Mara", "10:01 AM", "yes"), "chat log"),
    "facebook_copy.txt": (chat_of("Odo Brink", "Mon 10:00 AM", "hi", "Mara", "Mon 10:01 AM", "yes"), "chat log"),
    "zoom_text.txt": (chat_of("[Odo] 10:00:05", "hi", "", "[Mara] 10:01:00", "yes"), "chat log"),
    "telegram_colon.txt": (
        chat_of("Odo, [1 Mar 2021 at 10:00 AM]:", "hi", "", "Mara, [1 Mar 2021 at 10:01 AM]:", "yes"),
        "chat log",
    ),
    "chatgpt_copy.txt": (chat_of("You said:", "Is it fixed?", "ChatGPT said:", "Yes."), "an assistant"),
    "assistant.md": (chat_of("# Chat", "", "**User:** Is it fixed?", "", "**Assistant:** Yes."), "an assistant"),
    "chatgpt.md": (chat_of("#### You:", "Is it fixed?", "", "#### ChatGPT:", "Yes."), "an assistant"),
    "snap.txt": (chat_of("From: odo", "Media Type: TEXT", "Created: 2021-03-01", "Content: hi"), "Snapchat"),
    "outlook.txt": ("From:\tOdo\nSent:\tMonday\nTo:\tMara\nSubject:\tpump\n\nIs it fixed?\n", "e-mail"),
    "msgstore.db.crypt14": ("x", "backup of WhatsApp"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_messages_of_another_program_are_refused_by_name(tmp_path: Path, name: str) -> None:
    content, what = UNREAD[name]
    result = detect.detect_kinds(make_folder(tmp_path, {name: content}))
    assert result.groups == []
    (item,) = result.damaged
    assert item.source.endswith(name)
    assert what in item.reason
    assert item.reason.count("; ") == 2
    option = item.reason.rpartition("--as ")[2]
    assert option in ("text", "html", "table")
    assert option == "table" or not name.endswith(".csv") or name == "viber.csv"
    assert (option == "html") == name.endswith(".html")
    if not name.endswith(".crypt14"):
        (group,) = detect.detect_kinds(tmp_path / name, option).groups
        records = records_of(detect.read_items(group))
        assert records
        assert option != "table" or [record.text for record in records] == ["hi"]


@pytest.mark.parametrize("name", [name for name in UNREAD if not name.endswith((".msg", ".crypt14"))])
def test_as_text_imports_it_all_the_same(tmp_path: Path, name: str) -> None:
    path = make_folder(tmp_path, {name: UNREAD[name][0]})
    assert [group.kind for group in detect.detect_kinds(path, "text").groups] == ["text"]


PROSE = {
    "diary.txt": "1 March 2021\nRowed all day: two hours.\n\n2 March 2021\nThe pump was stuck.\n\n3 March 2021\nTea.\n",
    "diary_iso.txt": "2021-03-01: Rowed all day.\n2021-03-02: Pump stuck.\n2021-03-03: Tea, then bed.\n",
    "diary_times.txt": "10:00 Rowed out.\n10:30 The pump stopped.\n11:15 Tea was made: two cups.\n12:00 Home.\n",
    "play.txt": "ODO: Is the pump fixed?\nMARA: Yes.\nODO: Good.\n",
    "verses.txt": "".join(f"{n}:{n + 10} And he said unto the {n}th man: go forth.\n" for n in range(1, 20)),
    "recipe.txt": "Step 1: boil the water.\nStep 2: add the tea.\nTime: 10:00\n",
    "log_prose.txt": "At 10:00 Odo said: the pump is stuck.\nAt 10:05 Mara said: no.\nWe rowed home.\n",
    "letters.txt": "From: the captain\n\nDear Odo,\nthe pump is stuck.\n\nFrom: the mate\n\nIt is not.\n",
    "front.md": "---\ntitle: The pump\ndate: 2021-03-01\ntags: [boat]\n---\n\n# The pump\n\nStuck.\n",
    "quote.txt": "He wrote to me:\n\n10:00 Odo: hi\n\n" + "and then nothing came for a long while.\n" * 10,
    "minutes.txt": "Minutes of 1 March 2021\n\n10:00 Opening\nOdo opened the meeting.\n11:00 Pump\nIt is stuck.\n",
    "dialogue.txt": "Odo: Is the pump fixed?\nMara: Yes.\n<|endoftext|>\nOdo: Tea?\nMara: Please.\n",
    "<b>.txt": "<b> bold words and <i> italic ones\nwere typed by hand.\n",
    "ratio.txt": "The odds were 10:1 and the clock said 10:00: time to go.\nNobody went: it rained.\n",
    "sport.txt": "10:00 Heat 1: Odo won.\n10:30 Heat 2: Mara won.\n11:00 Heat 3: Lys won.\n11:30 Final: Mara won.\n",
    "two_times.txt": "10:00 AM Tea: in the hall.\n11:00 AM Pump: on deck.\n",
    "two_bracket.txt": "Tea (10:00): in the hall.\nPump (10:30): on deck.\n",
    "two_entries.txt": "10:02 Wind: NW 4.\n10:47 Course: 270.\n",
    "german.txt": "1.3. 10:00 Tee: zwei Tassen.\n2.3. 11:00 Pumpe: klemmt.\n",
    "amounts.txt": "10:00 1.5 litres: tea.\n11:00 2.5 litres: milk.\n",
    "stations.txt": "Bergen 10:03\nLeave the boat.\n\nOslo 17:41\nTake the train.\n",
    "travel.txt": "Train 01/03/2021 10:00\nto Bergen\n\nBoat 02/03/2021 11:07\nto Oslo\n",
    "bold_play.md": "**ODO:** Is the pump fixed?\n\n**MARA:** Yes.\n\n**ODO:** Good.\n",
    "user_guide.md": "## User\n\nA user has a name.\n\n## Administrator\n\nHe has two.\n",
    "heats.txt": "10:01 Heat 1: Odo won.\n10:03 Heat 2: Mara won.\n",
    "scene.txt": "Scene 1 [10:00] The boat\nIt rains.\n\nScene 2 [11:00] The hall\nIt snows.\n",
    "training.txt": "".join(f"{day}.3. 10:00 Rowing: two hours.\n" for day in range(1, 20)),
    "week.txt": "Monday 10:00\nPump class\n\nTuesday 11:00\nRowing\n\n" * 20,
    "guide.md": "## User 1\n\nA user has a name.\n\n## Response 1\n\nHe has two.\n",
    "places.txt": "Pump class\n10:00\non deck\n\nRowing\n11:00\nat the pier\n",
    "entries.txt": "01.03.21 10:00 - Rowed all day.\n02.03.21 10:00 - Mended the pump.\n",
    "events.txt": "".join(f"{n % 28 + 1} March {1900 + n}: the pump was stuck again.\n" for n in range(60)),
    "timetable.txt": "Monday 10:00\nPump class.\n\nTuesday 11:00\nRowing.\n\nFriday 12:00\nTea.\n",
}


@pytest.mark.parametrize("name", PROSE)
def test_prose_with_times_and_names_stays_a_text(tmp_path: Path, name: str) -> None:
    result = detect.detect_kinds(make_folder(tmp_path, {name: PROSE[name]}))
    assert (result.damaged, [group.kind for group in result.groups]) == ([], ["text"])


@pytest.mark.parametrize(
    "content",
    [
        '[{"user": {"username": "mara"}, "content": "Rowed.", "date": "2021", "hashtags": []}]',
        '[{"author": "Mara", "title": "The pump", "content": "Stuck.", "date": "2021"}]',
        '[{"text": "Rowed.", "created_at": "2021"}]',
        '[{"name": "Mara", "text": "Rowed.", "date": "2021"}]',
    ],
)
def test_posts_in_json_are_no_messages(tmp_path: Path, content: str) -> None:
    assert not detect.detect_kinds(make_folder(tmp_path, {"a.json": content})).damaged


def test_the_files_of_an_export_are_not_examined(tmp_path: Path) -> None:
    day = json.dumps([{"type": "message", "user": "U1", "text": "morning", "ts": "1355517523.000005"}])
    files = {"users.json": "[]", "general/2012-12-14.json": day, "notes/log.txt": "<odo> hi\n<mara> yes\n<odo> fine\n"}
    result = detect.detect_kinds(make_folder(tmp_path, files))
    assert [group.kind for group in result.groups] == ["slack"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet="0123456789:[]<>-/., \tOdoMarApm*ab\u202f월", max_size=60), max_size=12))
def test_any_lines_are_judged_quickly(lines: list[str]) -> None:
    assert is_chat_log(lines) in (True, False)


def test_a_long_line_takes_no_time(tmp_path: Path) -> None:
    for line in ("a " * 30_000, "1:" * 30_000, "[" * 60_000, "<a " * 20_000, "10:00 " * 10_000, "- \t|" * 15_000):
        (member,) = (m for m in detect.iter_members(make_folder(tmp_path, {"a.txt": line})) if m)
        assert not describe_unread(member)  # type: ignore[arg-type]
