from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import detect
from tools.corpus.archive import Member
from tools.corpus.detect import ImportGroup
from tools.corpus.errors import CorpusNotFound
from tools.corpus.record import DamagedItem, Record, SkippedItem
from tools.corpus.utf16 import transcode_to_utf8

MESSAGE = {"sender_name": "Ann", "timestamp_ms": 1600000000000, "content": "hello"}
THREAD = {"participants": [{"name": "Ann"}, {"name": "Bob"}], "messages": [MESSAGE], "title": "Bob", "magic_words": []}
SAID = {"type": "message", "user": "U1", "text": "morning", "ts": "1355517523.000005"}
MESSENGER = {
    "messages/inbox/bob_1/message_1.json": json.dumps(THREAD),
    "messages/inbox/bob_1/photos/1.jpg": "\xff",
    "messages/autofill.json": "{}",
    "no-data.txt": "nothing here",
}
SLACK = {"users.json": "[]", "channels.json": '[{"id": "C1", "name": "general"}]'}
SLACK_DAY = {"general/2012-12-14.json": json.dumps([SAID])}
TWEETS = "window.YTD.tweets.part0 = " + json.dumps([{"tweet": {"full_text": "a tweet", "id_str": "1"}}])
X = {"data/tweets.js": TWEETS, "data/manifest.js": "window.__THAR_CONFIG = {}", "README.txt": "Your archive"}
PDF = "%PDF-1.4 broken"


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text.encode())
    return path


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def kinds(path: Path, kind: str = "") -> dict[str, list[str]]:
    return {lot.kind: [member.name for member in lot.members] for lot in detect.detect_kinds(path, kind).groups}


@pytest.mark.parametrize("put", [folder, zipped])
def test_each_export_is_known_by_looking_and_its_litter_is_no_text(tmp_path: Path, put: type) -> None:
    for kind, files in {"messenger": MESSENGER, "slack": SLACK | SLACK_DAY, "tweets": X}.items():
        path = put(tmp_path / kind, files)
        assert list(kinds(path)) == [kind]
        (lot,) = detect.detect_kinds(path).groups
        assert [type(one) for one in detect.read_items(lot)].count(Record) == 1


def test_what_is_left_is_counted_by_its_ending(tmp_path: Path) -> None:
    left = detect.detect_kinds(zipped(tmp_path / "m.zip", MESSENGER)).unclaimed
    assert left == {".jpg": 1, ".json": 1, ".txt": 1}
    strewn = {"__MACOSX/._a.txt": "x", ".DS_Store": "x", ".git/config": "x", "noise": "\0\1", "song.mp3": "x"}
    assert detect.detect_kinds(folder(tmp_path / "strewn", strewn)).unclaimed == {
        "hidden": 3,
        "without an ending": 1,
        ".mp3": 1,
    }


def test_a_folder_of_many_things_is_parted_and_nothing_is_claimed_twice(tmp_path: Path) -> None:
    files = {"a.txt": "text", "b.md": "text", "c.pdf": PDF, "tweets.csv": "tweets\nfirst\nsecond\n", "d.html": "<p>"}
    path = folder(tmp_path / "heap", files)
    assert kinds(path) == {"tweets": ["tweets.csv"], "pdf": ["c.pdf"], "text": ["a.txt", "b.md"]}
    assert detect.detect_kinds(path).unclaimed == {".html": 1}


def test_exports_beside_one_another_in_a_folder_are_all_found(tmp_path: Path) -> None:
    everything = folder(tmp_path / "x", {f"facebook/{name}": text for name, text in MESSENGER.items()})
    folder(everything, {f"slack/{name}": text for name, text in (SLACK | SLACK_DAY).items()})
    folder(everything, {f"x/{name}": text for name, text in X.items()})
    assert list(kinds(everything)) == ["messenger", "slack", "tweets"]


@pytest.mark.parametrize("put", [folder, zipped])
def test_what_lies_beside_an_export_is_no_part_of_it(tmp_path: Path, put: type) -> None:
    signal = {"main.jsonl": '{"version":"1","backupTimeMs":"1"}\n', "files/ab/c.txt": "attached"}
    encrypted = {"Bob_7.json": json.dumps({"participants": ["A"], "threadName": "Bob_7", "messages": []})}
    exports = {"fb": MESSENGER, "slack": SLACK | SLACK_DAY, "x": X, "signal": signal}
    files = {f"{top}/{name}": text for top, own in exports.items() for name, text in own.items()}
    files |= encrypted | {"a.txt": "text", "fb-notes/b.md": "text", "c.pdf": PDF, "media/d.txt": "attached"}
    files["log/s.jsonl"] = '{"t":0.0,"ev":"session","version":1}\n'
    found = kinds(put(tmp_path / "attic", files))
    assert sorted(found) == ["log", "messenger", "pdf", "signal", "slack", "text", "tweets"]
    assert found["text"] == ["a.txt", "fb-notes/b.md"]
    assert sorted(found["signal"]) == ["signal/files/ab/c.txt", "signal/main.jsonl"]


@pytest.mark.parametrize("top", ["", "messages/", "your_activity_across_facebook/messages/"])
def test_an_export_that_was_handed_over_by_itself_is_all_of_it(tmp_path: Path, top: str) -> None:
    path = folder(tmp_path / "fb", {f"{top}inbox/bob_1/message_1.json": json.dumps(THREAD), "ads/no-data.txt": "none"})
    assert list(kinds(path)) == ["messenger"]


def test_zips_in_a_folder_are_each_a_path_of_their_own(tmp_path: Path) -> None:
    zipped(tmp_path / "1.zip", MESSENGER)
    zipped(tmp_path / "2.ZIP", SLACK | SLACK_DAY)
    folder(tmp_path, {"notes.txt": "text"})
    lots = {lot.kind: lot.path.name for lot in detect.detect_kinds(tmp_path).groups}
    assert lots == {"messenger": "1.zip", "slack": "2.ZIP", "text": tmp_path.name}


def test_a_zip_in_a_zip_is_told_and_not_opened(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a.txt": "a"})
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(inner, "inner.zip")
        archive.writestr("b.txt", "b")
    whole = detect.detect_kinds(tmp_path / "outer.zip")
    assert [damaged.reason for damaged in whole.damaged] == [
        "a ZIP in a ZIP, which is not opened: take it out, add it by itself"
    ]
    assert [member.name for lot in whole.groups for member in lot.members] == ["b.txt"]


def test_a_document_of_an_office_program_is_told_what_to_do(tmp_path: Path) -> None:
    zipped(tmp_path / "a.docx", {"[Content_Types].xml": "<x/>", "word/document.xml": "<x/>"})
    for path in (tmp_path / "a.docx", tmp_path):
        whole = detect.detect_kinds(path)
        assert whole.groups == []
        assert [one.reason.partition(": ")[2] for one in whole.damaged] == ["save it as text or PDF"]


def test_what_is_said_to_be_of_a_kind_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "a.json").write_text("{}")
    assert kinds(tmp_path / "old.txt") == {}
    assert kinds(tmp_path / "old.txt", "text") == {"text": ["old.txt"]}
    assert kinds(tmp_path, "text") == {"text": ["a.json", "old.txt"]}
    heap = folder(tmp_path / "heap", {"a.csv": "tweets\none\ntwo\n", "b.txt": "text"})
    assert kinds(heap, "tweets")["tweets"] == ["a.csv"]
    assert detect.detect_kinds(heap, "tweets").unclaimed == {".txt": 1}


def test_an_absent_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusNotFound):
        detect.detect_kinds(tmp_path / "absent")


def test_members_go_through_seen(tmp_path: Path) -> None:
    path = folder(tmp_path / "t", {"a.txt": "a"})
    (lot,) = detect.detect_kinds(path, wrap=lambda member: replace(member, location="elsewhere")).groups
    assert lot.members[0].location == "elsewhere"


def text_lot(path: Path) -> ImportGroup:
    (lot,) = detect.detect_kinds(path).groups
    return lot


def test_a_text_that_is_known_is_not_read_again_and_one_that_is_there_twice_once(tmp_path: Path) -> None:
    folder(tmp_path, {"a.txt": "one", "b.txt": "two", "copy.txt": "one"})
    first, known = detect.drop_known_files(text_lot(tmp_path), ())
    assert ([member.name for member in first.members], known) == (["a.txt", "b.txt"], 1)
    folder(tmp_path, {"c.txt": "three"})
    again, known = detect.drop_known_files(text_lot(tmp_path), first.digests)
    assert ([member.name for member in again.members], known) == (["c.txt"], 3)


def test_an_export_is_new_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    first, known = detect.drop_known_files(text_lot(zipped(tmp_path / "a.zip", SLACK | SLACK_DAY)), ())
    assert (len(first.members), known, len(first.digests)) == (3, 0, 1)
    same, known = detect.drop_known_files(text_lot(folder(tmp_path / "unpacked", SLACK | SLACK_DAY)), first.digests)
    assert (len(same.members), known) == (0, 3)
    longer = SLACK | SLACK_DAY | {"general/2012-12-15.json": json.dumps([SAID])}
    more, known = detect.drop_known_files(text_lot(zipped(tmp_path / "b.zip", longer)), first.digests)
    assert (len(more.members), known) == (4, 0)


def test_a_member_that_cannot_be_read_is_left_for_its_importer_to_tell(tmp_path: Path) -> None:
    folder(tmp_path, {"a.txt": "one", "b.txt": "two"})
    lot = text_lot(tmp_path)
    (tmp_path / "a.txt").unlink()
    left, known = detect.drop_known_files(lot, ())
    assert (known, len(left.digests)) == (0, 1)
    assert [one.source for one in detect.read_items(left) if isinstance(one, DamagedItem)] == [str(tmp_path / "a.txt")]


def test_no_empty_text_gets_through_whatever_an_importer_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless:
        KIND = "text"

        def claim(self, members: list[Member]) -> list[Member]:
            return members

        def found(self, members: list[Member]) -> list[Record]:
            return [Record("a", "a", " \n"), Record("a", "a", "b")]

    monkeypatch.setattr(detect, "load_importer", lambda kind: Careless())
    lot = ImportGroup(tmp_path, "text", ())
    assert list(detect.read_items(lot)) == [SkippedItem("a", "an empty text"), Record("a", "a", "b")]


@given(st.text(max_size=300), st.sampled_from(["utf-16-le", "utf-16-be"]), st.integers(1, 50))
def test_a_table_in_utf16_is_read_as_if_it_were_utf8(text: str, encoding: str, count: int) -> None:
    raw = ("\ufeff" + text).encode(encoding)
    one = transcode_to_utf8(Member("a.csv", "a.csv", len(raw), lambda: io.BytesIO(raw)))
    with one.open() as file:
        assert b"".join(iter(lambda: file.read(count), b"")).decode() == text


def test_a_table_and_json_that_windows_wrote_are_taken(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\ttext\tcreated_at\n1\tCafé, at last\t2020-01-01\n", "utf-16")
    thread = {"participants": [{"name": "Bob"}], "messages": [{"sender_name": "Bob", "content": "Hi."}], "title": "Bob"}
    (tmp_path / "message_1.json").write_text(json.dumps(thread), "utf-16")
    whole = detect.detect_kinds(tmp_path)
    texts = [one.text for lot in whole.groups for one in detect.read_items(lot) if isinstance(one, Record)]
    assert sorted(texts) == ["Café, at last", "Hi."]
    assert not whole.unclaimed
    assert not whole.damaged
