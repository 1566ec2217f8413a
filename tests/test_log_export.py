"""`asr33 log export`: each format in the program that reads it, headers without names of hosts, and its messages."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_browser import CHROMIUM, open_browser
from fakes_kept_session import KeptSession
from fakes_teletype import read_terminal_until, terminal

from drivers import tape
from drivers.paper.paper import Paper
from drivers.profile import Profile
from drivers.text.charset import strip_parity
from tools.log.export import SUFFIXES
from tools.log.formats.registry import FORMATS
from tools.log.recording import SheetRecording, record_sheet
from tools.main import main

ASCIINEMA = shutil.which("asciinema")
SVG = "{http://www.w3.org/2000/svg}"


def session(machine: Profile | None = None, **header: object) -> KeptSession:
    kept = KeptSession(machine, **header)
    kept.print("READY\n")
    kept.wait(60)
    kept.type("WHAT IS <B>BOLD</B>& SO ON?\x7f!")
    kept.answer("It is struck twice, as in </script> \\u003c. " * 3)
    kept.print("".join(f"_\b{char}" for char in "BOLD") + " B\bBO\bO\n", overstrike=True)
    kept.print("\aTHE END\n")
    kept.close()
    return kept


def recording(kept: KeptSession) -> SheetRecording:
    return record_sheet(kept.read())[0]


def exported(kept: KeptSession, name: str) -> bytes:
    [data] = FORMATS[name].encode(recording(kept))
    return data


def test_a_cast_has_each_stroke_at_its_time_and_each_answer_as_a_marker() -> None:
    header, *events = map(json.loads, exported(session(), "asciicast").splitlines())
    assert header == {
        "version": 2,
        "width": 72,
        "height": 24,
        "timestamp": 1796061600,
        "duration": recording(session()).duration_s,
        "title": "asr33 session, model embedded",
    }
    assert [label for _, code, label in events if code == "m"] == ["1 " + session().read().turns[0].code]
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    assert times[0] == session().read().strokes[0].at_s
    assert any(at > 60 for at in times)


def test_the_numbers_of_a_cast_put_the_paper_on_a_terminal() -> None:
    """A small terminal: CR, LF, columns, and the marks for bold and underlined."""
    lines: list[dict[int, str]] = [{}]
    column, style = 0, ""
    for _, code, data in map(json.loads, exported(session(), "asciicast").splitlines()[1:]):
        while code == "o" and data:
            if data[0] == "\x1b":
                end = next(at for at, char in enumerate(data) if char.isalpha())
                argument, kind, data = data[2:end], data[end], data[end + 1 :]
                column, style = (int(argument) - 1, style) if kind == "G" else (column, argument)
                continue
            char, data = data[0], data[1:]
            if char == "\n":
                lines.append({})
            elif char == "\r":
                column = 0
            elif char != "\a":
                lines[-1][column] = f"{char}{style}"
                column += 1
    shown = ["".join(line.get(at, " ")[0] for at in range(max(line, default=-1) + 1)) for line in lines]
    assert "\n".join(map(str.rstrip, shown)).rstrip() == exported(session(), "text").decode().rstrip()
    assert ["B4", "O4", "L4", "D4"] in [[line.get(at, "") for at in range(4)] for line in lines]


@pytest.mark.skipif(ASCIINEMA is None, reason="no asciinema: apt-get install asciinema, or pip install 'asciinema<3'")
def test_asciinema_plays_the_paper_on_a_terminal(tmp_path: Path) -> None:
    kept = KeptSession()
    kept.print("READY\n")
    kept.wait(3600)
    kept.type("WHAT IS A TELETYPE?")
    kept.answer("A machine that prints ten characters a second, and so on to the margin. " * 3)
    kept.print("THE END\n")
    path = tmp_path / "session.cast"
    path.write_bytes(exported(kept, "asciicast"))
    with terminal() as (master, slave):
        played = subprocess.Popen([str(ASCIINEMA), "play", "-i", "0.001", path], stdin=slave, stdout=slave)
        screen = read_terminal_until(master, "THE END")
        played.wait(30)
    lines = [line.rstrip() for line in re.sub("\x1b\\[[0-9]+G", "", screen).replace("\r", "").rstrip().split("\n")]
    assert lines == exported(kept, "text").decode().rstrip().split("\n")


def test_times_that_go_back_change_no_text() -> None:
    kept = KeptSession()
    kept.print("HELLO\n")
    kept.records[3]["at"] = 7.0
    header, *events = map(json.loads, exported(kept, "asciicast").splitlines())
    assert "".join(data for _, _, data in events) == "HELLO\r\r\n"
    assert header["duration"] >= events[-1][0] == 7.0


def test_a_cast_of_a_full_line_and_of_the_old_wheel() -> None:
    kept = KeptSession(Profile(wheel="1963"), profile={"wheel": "1963"})
    kept.print("A" * 72 + " B^_\n")
    data = exported(kept, "asciicast").decode()
    assert "[72G" not in data or "\\u001b[72G" in data
    assert "↑" in data
    assert exported(kept, "text").decode() == "A" * 72 + "\nB↑-\n"  # the folding has no left arrow in prose


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_header_has_a_host_a_path_or_a_port(name: str) -> None:
    kept = KeptSession(model="http://bobs-host:8033", machine="ASR in Bob's cellar", persona="BOBBY", you="Bobby")
    kept.print("HELLO\n")
    data = b"".join(FORMATS[name].encode(recording(kept)))
    assert b"bob" not in data.lower()
    assert str(Path.home()).encode() not in data


def test_an_svg_has_all_its_ink() -> None:
    root = ET.fromstring(exported(session(), "svg"))
    strikes = [use.get("href") for use in root.iter(f"{SVG}use")]
    cells = recording(session()).paper().inked_cells()
    assert len(strikes) == sum(len(cell) for line in cells for cell in line)
    assert {path.get("id") for path in root.iter(f"{SVG}path")} == {(href or "")[1:] for href in strikes}
    labels = [group.get("aria-label") for group in root.iter(f"{SVG}g") if group.get("aria-label")]
    assert "READY" in labels
    assert any("<B>BOLD</B>&" in (label or "") for label in labels)


def test_a_png_of_a_long_sheet_is_several_pictures() -> None:
    from PIL import Image

    kept = KeptSession()
    kept.print("X\n" * 1400)
    pages = FORMATS["png"].encode(recording(kept))
    assert len(pages) == 2
    assert all(Image.open(io.BytesIO(page)).info.keys() <= {"dpi"} for page in pages)


def test_a_tape_prints_the_same_sheet() -> None:
    rows = exported(session(), "tape")
    assert rows.startswith(bytes(120))
    assert rows.endswith(bytes(120))
    paper = Paper()
    paper.feed(bytes(map(strip_parity, rows)))
    assert paper.lines == recording(session()).paper().lines
    assert tape.detect_parity(rows) == "even"
    assert "\r\n\x7f\x7fW" in "".join(chr(strip_parity(row)) for row in rows)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
async def test_the_page_plays_by_itself_in_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "session.html"
    path.write_bytes(exported(session(), "html"))
    async with open_browser() as browser:
        page = await browser.open_page(path.as_uri())
        await page.wait_for("!!(globalThis.asr33 && asr33.exportedPlayer && asr33.exportedPlayer.next > 3)")
        assert await page.run("asr33.exportedPlayer.isPlaying")
        await page.run("void document.getElementById('next').click()")
        assert "WHAT IS" in "\n".join(await page.accessible_lines())
        await page.run("void document.getElementById('end').click()")
        shown = [line for line in await page.accessible_lines() if line.strip()]
        wanted = recording(session()).paper().text().split("\n")
        assert shown == [line for line in wanted if line]
        assert page.errors == []


def test_the_page_loads_nothing_and_holds_no_element_of_the_text() -> None:
    page = exported(session(), "html").decode()
    assert "default-src 'none'" in page
    assert re.search("https?:", page) is None
    assert page.count("</script>") == 2
    assert "<" not in page.partition('id="recording">')[2].partition("</script>")[0]
    assert "<B>" not in page


def run_export(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", "log", "export", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_names_the_file_after_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session().write(tmp_path / "logs")
    monkeypatch.chdir(tmp_path)
    words = ["log", "export", "--log", "logs", "--names", "Bold"]
    assert main([*words, "--format", "svg"]) == 0
    assert b"BOLD" not in (tmp_path / "20261130T180000.svg").read_bytes()
    assert main([*words, "--output", "sheet.txt"]) == 0
    assert "WHAT IS <B>****</B>&" in (tmp_path / "sheet.txt").read_text()


def test_the_command_says_what_it_redacted_and_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session().write(tmp_path)
    words = ["log", "export", "LAST", "--log", str(tmp_path), "--output"]
    output = str(tmp_path / "out.txt")
    assert main([*words, output, "--redact", "ready"]) == 0
    assert "1 place redacted, 5 characters" in capsys.readouterr().err
    assert main([*words, output, "--redact", "unheard"]) == 0
    assert "nothing on the sheet matches --redact and --names: check their spelling" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "out.mp4")]) == 2
    assert "its suffix names no format (.cast, .txt," in capsys.readouterr().err
    assert main([*words, output, "--redact", "("]) == 2
    assert main([*words, str(tmp_path / "no" / "out.txt")]) == 74


def test_each_format_has_its_suffix() -> None:
    assert {chosen.suffix: name for name, chosen in FORMATS.items()} == SUFFIXES


def test_standard_output_takes_a_text_format(tmp_path: Path) -> None:
    session().write(tmp_path)
    code, out, err = run_export("--log", str(tmp_path), "--output", "-")
    assert (code, out.split("\n")[0], err) == (0, "READY", "")


def test_a_narrow_recording_keeps_its_columns() -> None:
    wide = replace(recording(session()), profile=Profile(columns=86))
    assert b'"width":86' in FORMATS["asciicast"].encode(wide)[0]
    assert b'"pitch":12' in FORMATS["html"].encode(wide)[0]
