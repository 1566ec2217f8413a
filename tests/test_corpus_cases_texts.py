"""The shared cases of texts: each file gives what a careful person would want."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_items import make_folder, make_zip

from tools.corpus import storage
from tools.corpus.rendering import render_documents
from tools.main import main

CASES = Path(__file__).parents[1] / "../shared/cases/corpora"
STUCK = "It was stuck since Monday."
SPOKEN = "The pump was old. "


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setattr("tools.cli.progress.QUIET_S", 3600.0)
    return tmp_path / "corpora"


def add(path: Path, *options: str) -> int:
    return main(["corpus", "add", str(path), "--name", "x", *options])


def documents() -> list[str]:
    return [document.strip() for document in render_documents(storage.open_kept_records("x"))]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("gutenberg", [STUCK]),
        (
            "pdf/soft.txt",
            [
                "The print-nonprint codebar moves. When the print-nonprint\nmechanism is on, a Send-Receive\n"
                "set is in its START-STOP\nmode, and the lubrication\nis dry."
            ],
        ),
        ("epub_src", [STUCK]),
        ("misc/nbsp_lost.txt", ["He said: The pump is fine.\n We rowed home."]),
        ("p2/12_markers.txt", ["The pump stopped at noon.\nWe rowed.", "Tea was made.", "The valve was stuck."]),
        ("p2/13_charmap.txt", [(SPOKEN * 20).rstrip(" ") + "\nHe said “fine” – and  went. Café."]),
        ("p2/18_dialogue.txt", ["Odo: Is the pump fixed?\nMara: Yes.\nOdo: Good.", "Odo: Tea?\nMara: Please."]),
        ("unsup/md", [f"The pump\n\n{STUCK}"]),
        ("unsup/html", [STUCK]),
        ("unsup/a.epub", ["It was stuck."]),
    ],
)
def test_a_file_gives_its_text(path: str, wanted: list[str]) -> None:
    if not CASES.exists():
        pytest.skip("the shared cases are not here")
    assert add(CASES / path) == 0
    assert documents() == wanted


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("unsup/rtf", "a.rtf: a document in RTF: save it as text or PDF"),
        ("unsup/rtf/a.rtf", "a.rtf: a document in RTF: save it as text or PDF"),
        ("unsup/a.docx", "a.docx: a document of Word: save it as text or PDF"),
        ("unsup/srt", "film.srt: subtitles"),
        ("html_only", "request a download in JSON"),
    ],
)
def test_a_file_that_is_not_read_is_named_with_the_cure(
    path: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not CASES.exists():
        pytest.skip("the shared cases are not here")
    assert add(CASES / path) == 65
    assert reason in capsys.readouterr().err


FOLDER = {
    "story.txt": STUCK,
    "poem.md": "# A poem\n\nTyger Tyger, burning bright,\nIn the forests of the night\n",
    "page.html": f"<p>{STUCK} Twice.</p>",
    "README": "The boat club has a pump. It is stuck since Monday, and we row instead.\n",
    "LICENSE": "MIT License\n\nPermission is hereby granted, free of charge, to any person.",
    "COPYING.txt": "You may copy this.",
    "firmware/pump.hex": ":10010000214601360121470136007EFE09D2190140\n" * 9,
    "firmware/dump.txt": ":10010000214601360121470136007EFE09D2190140\n" * 9,
    "src/pump.c": "int main(void) { return 0; }\n",
    "src/code.txt": "int a = 1;\nint b = 2;\nint f(int a) {\n  return a;\n}\nint c = 3;\n",
    "src/requirements.txt": "numpy==1.0\nrequests>=2\n",
    "words.txt": "".join(f"word{n}x\n" for n in range(60)),
    "uv.lock": "version = 1\n",
    "data.json": '{"a": 1}\n',
    "pump.ttf": b"\0\1\0\0",
    "oar.woff2": b"wOF2",
    "old.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
    "letter.rtf": "{\\rtf1\\ansi Dear Odo}",
    "book.mobi": b"The_Pump" + b"\0" * 52 + b"BOOKMOBI",
}


@pytest.mark.parametrize("make", [make_folder, make_zip])
def test_of_a_folder_with_everything_only_prose_is_taken_and_all_is_listed(
    tmp_path: Path, make: type, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(make(tmp_path / "all", FOLDER)) == 0
    out, err = capsys.readouterr()
    poem = "A poem\n\nTyger Tyger, burning bright,\nIn the forests of the night"
    assert sorted(documents()) == sorted([STUCK, poem, f"{STUCK} Twice.", FOLDER["README"].strip()])  # type: ignore[union-attr]
    assert ": text, 3 files (1 without an ending, 1 .md, 1 .txt), 3 records" in out
    left = out.split("files left out, by ending: ")[1].split("\n")[0]
    for line in (
        "old.doc: a document of Word: save it as text or PDF",
        "letter.rtf: a document in RTF: save it as text or PDF",
        "book.mobi: an e-book: convert it to EPUB, as Calibre does",
    ):
        assert line in err
    assert "to import a text among them: name it, with --as text" in left
    main(["corpus", "report", "x"])
    report = capsys.readouterr().out
    assert "Files taken" in report
    for label in (".hex (firmware)", ".txt (a hex dump)", ".c (source code)", ".txt (source code)", ".woff2"):
        assert label in report
    for label in (".txt (a word list)", ".txt (settings)", ".lock (settings)", "without an ending (a licence)", ".ttf"):
        assert label in report


NAMED = ["LICENSE", "words.txt", "src/pump.c", "uv.lock", "page.html", "data.json", "firmware/dump.txt"]


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_is_named_is_taken_or_as_text_is_offered_and_works(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_folder(tmp_path / "all", FOLDER) / name
    if add(path) != 0:
        assert "--as text" in capsys.readouterr().err
    assert add(path, "--as", "text") == 0


@pytest.mark.parametrize("name", ["pump.ttf", "old.doc", "book.mobi"])
def test_as_text_is_not_offered_where_it_does_not_work(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_folder(tmp_path / "all", FOLDER) / name
    assert add(path) == 65
    assert "--as text" not in capsys.readouterr().err
    assert add(path, "--as", "text") == 65
    assert "\n" not in capsys.readouterr().err.strip()


def test_a_diary_about_project_gutenberg_is_imported_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = "\n\n".join(f"On day {n} I rowed to the pump, and it was stuck as before." for n in range(60))
    diary = f"{days}\n\nEnd of Project Gutenberg for me, I said, and went on.\n\n{days}"
    (tmp_path / "diary.txt").write_text(diary)
    assert add(tmp_path / "diary.txt") == 0
    assert documents() == [diary]
    assert capsys.readouterr().err == ""


def test_a_cut_and_lost_characters_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notice = "Copyright pages exist to tell you that you can't do something. Unlike them, this page says yes. " * 3
    text = f"The pump\ufffds stuck.\n\nUncopyright\n\nMay you do good and not evil.\n\n{notice}\n"
    (tmp_path / "pump.txt").write_text(text)
    assert add(tmp_path / "pump.txt") == 0
    assert documents() == ["The pump\ufffds stuck."]
    err = capsys.readouterr().err
    assert "asr33: 1 unreadable character (\ufffd) in 1 text: look at the file" in err
    assert "to keep them: --without imprints" in err


def test_the_letters_of_a_table_are_repaired_with_its_names(tmp_path: Path) -> None:
    table = "text,date\nThe pump\x92s stuck \x96 now.,2020-01-01\nIt‚Äôs at the caf√©.,2020-01-02\n"
    (tmp_path / "tweets.csv").write_text(table)
    assert add(tmp_path / "tweets.csv") == 0
    assert documents() == ["The pump’s stuck – now.", "It’s at the café."]
