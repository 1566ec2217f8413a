from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from corpus_items import damaged_of, make_folder, make_zip, records_of, texts_of
from tool_errors import raises_tool_error

from tools.corpus import detect
from tools.corpus.archive import Member
from tools.corpus.detect import ImportGroup
from tools.corpus.record import Record, SkippedItem

MESSAGE = {"sender_name": "Ann", "timestamp_ms": 1600000000000, "content": "hello"}
THREAD = {"participants": [{"name": "Ann"}, {"name": "Bob"}], "messages": [MESSAGE], "title": "Bob", "magic_words": []}
SLACK_MESSAGE = {"type": "message", "user": "U1", "text": "morning", "ts": "1355517523.000005"}
MESSENGER = {
    "messages/inbox/bob_1/message_1.json": json.dumps(THREAD),
    "messages/inbox/bob_1/photos/1.jpg": "\xff",
    "messages/autofill.json": "{}",
    "no-data.txt": "nothing here",
}
SLACK = {"users.json": "[]", "channels.json": '[{"id": "C1", "name": "general"}]'}
SLACK_DAY = {"general/2012-12-14.json": json.dumps([SLACK_MESSAGE])}
TWEETS = "window.YTD.tweets.part0 = " + json.dumps([{"tweet": {"full_text": "a tweet", "id_str": "1"}}])
X = {"data/tweets.js": TWEETS, "data/manifest.js": "window.__THAR_CONFIG = {}", "README.txt": "Your archive"}
PDF = "%PDF-1.4 broken"


def detected_kinds(path: Path, kind: str = "") -> dict[str, list[str]]:
    return {group.kind: [member.name for member in group.members] for group in detect.detect_kinds(path, kind).groups}


@pytest.mark.parametrize("make", [make_folder, make_zip])
def test_each_export_is_detected_and_its_other_files_are_no_text(tmp_path: Path, make: type) -> None:
    for kind, files in {"messenger": MESSENGER, "slack": SLACK | SLACK_DAY, "tweets": X}.items():
        path = make(tmp_path / kind, files)
        assert list(detected_kinds(path)) == [kind]
        (group,) = detect.detect_kinds(path).groups
        assert len(records_of(detect.read_items(group))) == 1


def test_unclaimed_files_are_counted_by_suffix(tmp_path: Path) -> None:
    unclaimed = detect.detect_kinds(make_zip(tmp_path / "m.zip", MESSENGER)).unclaimed
    assert unclaimed == {".jpg": 1, ".json": 1, ".txt": 1}
    files = {"__MACOSX/._a.txt": "x", ".DS_Store": "x", ".git/config": "x", "noise": "\0\1", "song.mp3": "x"}
    unclaimed = detect.detect_kinds(make_folder(tmp_path / "other", files)).unclaimed
    assert unclaimed == {"hidden": 3, "without an ending": 1, ".mp3": 1}


def test_a_mixed_folder_is_grouped_and_no_file_is_claimed_twice(tmp_path: Path) -> None:
    files = {"a.txt": "text", "b.md": "text", "c.pdf": PDF, "tweets.csv": "tweets\nfirst\nsecond\n", "d.html": "<p>"}
    path = make_folder(tmp_path / "mixed", files | {"e.xml": "<p/>"})
    kinds = {"tweets": ["tweets.csv"], "pdf": ["c.pdf"], "html": ["d.html"], "text": ["a.txt", "b.md"]}
    assert detected_kinds(path) == kinds
    assert detect.detect_kinds(path).unclaimed == {".xml": 1}


def test_several_exports_in_one_folder_are_all_detected(tmp_path: Path) -> None:
    make_folder(tmp_path / "facebook", MESSENGER)
    make_folder(tmp_path / "slack", SLACK | SLACK_DAY)
    make_folder(tmp_path / "x", X)
    assert list(detected_kinds(tmp_path)) == ["messenger", "slack", "tweets"]


@pytest.mark.parametrize("make", [make_folder, make_zip])
def test_files_beside_an_export_are_no_part_of_it(tmp_path: Path, make: type) -> None:
    signal = {"main.jsonl": '{"version":"1","backupTimeMs":"1"}\n', "files/ab/c.txt": "attached"}
    encrypted = {"Bob_7.json": json.dumps({"participants": ["A"], "threadName": "Bob_7", "messages": []})}
    exports = {"fb": MESSENGER, "slack": SLACK | SLACK_DAY, "x": X, "signal": signal}
    files = {f"{top}/{name}": text for top, export in exports.items() for name, text in export.items()}
    files |= encrypted | {"a.txt": "text", "fb-notes/b.md": "text", "c.pdf": PDF, "media/d.txt": "attached"}
    files["log/s.jsonl"] = '{"t":0.0,"ev":"session","version":1}\n'
    kinds = detected_kinds(make(tmp_path / "attic", files))
    assert sorted(kinds) == ["log", "messenger", "pdf", "signal", "slack", "text", "tweets"]
    assert kinds["text"] == ["a.txt", "fb-notes/b.md"]
    assert sorted(kinds["signal"]) == ["signal/files/ab/c.txt", "signal/main.jsonl"]


ARCHIVES = {  # files that claim their folder, whole and broken
    "i.db": "SQLite format 3\0" + "\0" * 100,
    "places.sqlite": "SQLite format 3\0",
    "message_1.json": json.dumps(THREAD),
    "inbox/bob_1/message_1.json": json.dumps(THREAD),
    "message_2.json": '{"participants": [{"name": "Odo"}], "messages": [\n',
    "tweets.js": TWEETS,
    "data/tweets.js": TWEETS,
    "tweet.js": "window.YTD.tweets.part0 = [ {\n",
    "main.jsonl": '{"version":"1","backupTimeMs":"1"}\n',
    "result.json": '{"name": "x", "type": "personal_chat", "messages": [{"id":1,\n',
    "users.json": "[]",
    "_chat.txt": "01.03.21, 10:00 - Odo: Is the pump fixed?\n",
}


@pytest.mark.parametrize("make", [make_folder, make_zip])
@pytest.mark.parametrize("top", ["", "f/"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_text_beside_an_archive_file_is_read(tmp_path: Path, name: str, top: str, make: type) -> None:
    own = [f"{top}{name.rpartition('/')[0]}/novel.txt".replace("//", "/").lstrip("/"), f"{top}notes.md"]
    own = own[: 1 if "/" in name else 2]
    files = dict.fromkeys(own, "The pump was stuck since Monday.\n") | {f"{top}{name}": ARCHIVES[name]}
    if name == "users.json":
        files |= {f"{top}{day}": content for day, content in SLACK_DAY.items()}
    result = detect.detect_kinds(make(tmp_path / "a", files | {f"{top}README.txt": "Your archive."}))
    assert set(own) <= {member.name for group in result.groups if group.kind == "text" for member in group.members}


@pytest.mark.parametrize("name", ["i.db", "message_1.json", "tweets.js", "message_2.json"])
def test_a_table_and_a_page_beside_an_archive_file_are_read(tmp_path: Path, name: str) -> None:
    table = "id,remark,label\n1,The pump was stuck.,odo\n2,We rowed home.,mara\n"
    own = {"f/t.csv": table, "f/p.html": "<p>The pump was stuck since Monday.</p>"}
    files = own | {f"f/{name}": ARCHIVES[name], "f/Your archive.html": "<p>Open</p>"}
    kinds = detected_kinds(make_folder(tmp_path, files))
    assert (kinds["table"], kinds["html"]) == (["f/t.csv"], ["f/p.html"])


def test_a_text_deep_among_the_files_of_an_export_is_named(tmp_path: Path) -> None:
    texts = {"h/a2.txt": "Deeper.", "h/files/b.txt": "attached", "README.txt": "Your archive", "h/c.json": "{}"}
    result = detect.detect_kinds(make_folder(tmp_path, X | texts))
    assert [group.kind for group in result.groups] == ["tweets"]
    (item,) = result.damaged
    assert item.reason == "h/a2.txt among the files of an export: to import a text, name it"
    many = make_folder(tmp_path / "many", X | {f"h/{n}.txt": "Deeper." for n in range(7)})
    (item,) = detect.detect_kinds(many).damaged
    assert item.reason.startswith("h/0.txt, h/1.txt, h/2.txt, h/3.txt, h/4.txt and 2 more among")


@pytest.mark.parametrize("top", ["", "messages/", "your_activity_across_facebook/messages/"])
def test_an_export_without_its_outer_folder_is_detected(tmp_path: Path, top: str) -> None:
    files = {f"{top}inbox/bob_1/message_1.json": json.dumps(THREAD), "ads/no-data.txt": "none"}
    assert list(detected_kinds(make_folder(tmp_path / "fb", files))) == ["messenger"]


def test_each_zip_in_a_folder_is_a_path_of_its_own(tmp_path: Path) -> None:
    make_zip(tmp_path / "1.zip", MESSENGER)
    make_zip(tmp_path / "2.ZIP", SLACK | SLACK_DAY)
    make_folder(tmp_path, {"notes.txt": "text"})
    groups = {group.kind: group.path.name for group in detect.detect_kinds(tmp_path).groups}
    assert groups == {"messenger": "1.zip", "slack": "2.ZIP", "text": tmp_path.name}


def test_a_zip_inside_a_zip_is_reported_and_not_opened(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"a.txt": "a"}).read_bytes()
    result = detect.detect_kinds(make_zip(tmp_path / "outer.zip", {"inner.zip": inner, "b.txt": "b"}))
    (damaged,) = result.damaged
    assert damaged.reason == "a ZIP inside a ZIP, which is not opened: extract it and add it separately"
    assert [member.name for group in result.groups for member in group.members] == ["b.txt"]


def test_an_office_document_is_reported_with_a_cure(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.docx", {"[Content_Types].xml": "<x/>", "word/document.xml": "<x/>"})
    for path in (tmp_path / "a.docx", tmp_path):
        result = detect.detect_kinds(path)
        assert result.groups == []
        assert [item.reason.partition(": ")[2] for item in result.damaged] == ["save it as text or PDF"]


def test_an_office_document_without_its_list_of_parts_is_reported(tmp_path: Path) -> None:
    kind = "application/vnd.oasis.opendocument.text"
    make_zip(tmp_path / "a.odt", {"mimetype": kind, "content.xml": "<office:text>Hi.</office:text>"})
    make_zip(tmp_path / "b.docx", {"word/document.xml": "<w:t>Hi.</w:t>"})
    make_zip(tmp_path / "c.zip", {"mimetype": kind, "content.xml": "<office:text>Hi.</office:text>"})
    for path in (tmp_path, tmp_path / "a.odt", tmp_path / "b.docx", tmp_path / "c.zip"):
        result = detect.detect_kinds(path)
        assert result.groups == []
        assert {item.reason.partition(": ")[2] for item in result.damaged} == {"save it as text or PDF"}


def test_a_forced_kind_claims_all_files(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes(random.Random(1).randbytes(300).replace(b"\0", b""))
    (tmp_path / "a.json").write_text("{}")
    assert detected_kinds(tmp_path / "old.txt") == {}
    assert detected_kinds(tmp_path / "old.txt", "text") == {}  # no text in any encoding
    (tmp_path / "odd.txt").write_bytes(b"one \1 control and words\n")
    assert detected_kinds(tmp_path / "odd.txt") == {}
    assert detected_kinds(tmp_path, "text") == {"text": ["a.json", "odd.txt"]}
    mixed = make_folder(tmp_path / "mixed", {"a.csv": "tweets\none\ntwo\n", "b.txt": "text"})
    assert detected_kinds(mixed, "tweets")["tweets"] == ["a.csv"]
    assert detect.detect_kinds(mixed, "tweets").unclaimed == {".txt": 1}


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with raises_tool_error("missing"):
        detect.detect_kinds(tmp_path / "absent")


def test_each_member_goes_through_wrap(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "t", {"a.txt": "a"})
    (group,) = detect.detect_kinds(path, wrap=lambda member: replace(member, location="elsewhere")).groups
    assert group.members[0].location == "elsewhere"


def only_group(path: Path) -> ImportGroup:
    (group,) = detect.detect_kinds(path).groups
    return group


def test_known_texts_are_dropped_and_duplicates_kept_once(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.txt": "one", "b.txt": "two", "copy.txt": "one"})
    first, known_count = detect.drop_known_files(only_group(tmp_path), ())
    assert ([member.name for member in first.members], known_count) == (["a.txt", "b.txt"], 1)
    make_folder(tmp_path, {"c.txt": "three"})
    again, known_count = detect.drop_known_files(only_group(tmp_path), first.digests)
    assert ([member.name for member in again.members], known_count) == (["c.txt"], 3)


def test_an_export_is_known_only_as_a_whole(tmp_path: Path) -> None:
    first, known_count = detect.drop_known_files(only_group(make_zip(tmp_path / "a.zip", SLACK | SLACK_DAY)), ())
    assert (len(first.members), known_count, len(first.digests)) == (3, 0, 1)
    unpacked = only_group(make_folder(tmp_path / "unpacked", SLACK | SLACK_DAY))
    same, known_count = detect.drop_known_files(unpacked, first.digests)
    assert (len(same.members), known_count) == (0, 3)
    longer = SLACK | SLACK_DAY | {"general/2012-12-15.json": json.dumps([SLACK_MESSAGE])}
    more, known_count = detect.drop_known_files(only_group(make_zip(tmp_path / "b.zip", longer)), first.digests)
    assert (len(more.members), known_count) == (4, 0)


def test_an_unreadable_member_is_left_for_its_importer(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.txt": "one", "b.txt": "two"})
    group = only_group(tmp_path)
    (tmp_path / "a.txt").unlink()
    new, known_count = detect.drop_known_files(group, ())
    assert (known_count, len(new.digests), new.digests[1]) == (0, 2, "")  # a digest for each file
    assert [item.source for item in damaged_of(detect.read_items(new))] == [str(tmp_path / "a.txt")]


def test_empty_texts_of_an_importer_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class EmptyTextImporter:
        def claim(self, members: list[Member]) -> list[Member]:
            return members

        def read_items(self, members: list[Member]) -> list[Record]:
            return [Record("a", "a", " \n"), Record("a", "a", "b")]

    monkeypatch.setattr(detect, "load_importer", lambda kind: EmptyTextImporter())
    group = ImportGroup(tmp_path, "text", ())
    assert list(detect.read_items(group)) == [SkippedItem("a", "an empty text"), Record("a", "a", "b")]


def test_tables_and_json_in_utf16_are_imported(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\ttext\tcreated_at\n1\tCafé, at last\t2020-01-01\n", "utf-16")
    thread = {"participants": [{"name": "Bob"}], "messages": [{"sender_name": "Bob", "content": "Hi."}], "title": "Bob"}
    (tmp_path / "message_1.json").write_text(json.dumps(thread), "utf-16")
    result = detect.detect_kinds(tmp_path)
    texts = [text for group in result.groups for text in texts_of(detect.read_items(group))]
    assert sorted(texts) == ["Café, at last", "Hi."]
    assert not result.unclaimed
    assert not result.damaged
