"""`asr33 doctor report`: nothing of a person, a host, a path or a key is in it, in any encoding."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import Config, LineConfig, load_config
from tools.doctor.finding import Examination, conclude, make_finding, not_examined
from tools.doctor.message_templates import MessageTemplate, collect_templates, redact_message
from tools.doctor.report import make_report
from tools.main import main

SECRETS = {
    "person": "Zanzibella Quoxworth",
    "host": "window-teletype.example",
    "home": "/home/zanzibella/letters",
    "key": "sk-7f3a9c0d1e2b4a5f6c7d8e9f0a1b2c3d",
    "typed": "MY DEAREST AUNT LEFT THE SILVER TO QUOX",
    "serial": "usb-Prolific_Controller_ZQ001122-if00-port0",
    "channel": "#quoxworth-family",
    "umlaut": "Jürgen Größenwahn",
}
CONFIG = f"""
[line]
port = "/dev/serial/by-id/{SECRETS["serial"]}"
[model]
name = "https://{SECRETS["host"]}/v1"
key_file = "{SECRETS["home"]}/key"
[conversation]
persona = "{SECRETS["person"]}"
you = "{SECRETS["umlaut"]}"
[spool]
allow = ["irc/{SECRETS["person"]}"]
[irc]
channels = ["{SECRETS["channel"]}"]
"""
JOURNAL = "\n".join(
    [
        f"<4>asr33: {SECRETS['home']}: agetty (process 12) is on the line too: sudo systemctl stop serial-getty@x",
        f"https://{SECRETS['host']}: no answer: no program listens there: start the server, or check the port",
        f"the system clock was set by +3.0 s; the session log notes it; {SECRETS['person']}",
        "the system clock was set by +3.0 s; the session log notes it",
        f"Traceback: {SECRETS['typed']} {SECRETS['key']}",
        SECRETS["umlaut"],
    ]
)


def encodings_of(secret: str) -> set[bytes]:
    """Returns the secret as it could stand in a file: in letters of both kinds, backwards, and in the usual codes."""
    forms: set[bytes] = set()
    for text in (secret, secret.upper(), secret.lower(), secret[::-1], *secret.split()):
        if len(text) < 5:
            continue
        for raw in (text.encode(), text.encode("utf-16-le"), text.encode("latin-1", "replace")):
            forms |= {raw, raw.hex().encode(), raw.hex().upper().encode()}
            forms |= {base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)}
            forms |= {base64.b32encode(raw).rstrip(b"=")[:-1], base64.urlsafe_b64encode(raw)[:-4]}
        forms |= {quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()}
        forms |= {"".join(f"&#{ord(char)};" for char in text).encode()}
    return {form for form in forms if len(form) >= 5}


def make_config(folder: Path) -> Config:
    file = folder / "config.toml"
    file.write_text(CONFIG)
    return load_config({}, {}, file, folder)


def examinations() -> list[Examination]:
    port = f"/dev/serial/by-id/{SECRETS['serial']}"
    sentence = f"{SECRETS['person']} may not open {port}: it takes the group dialout"
    finding = make_finding("port-denied", sentence, f"sudo usermod -aG dialout {SECRETS['person']}")
    return [
        conclude("permission", port, f"user {SECRETS['person']}, group dialout of the port", [finding]),
        conclude("chip of the adapter", "/dev/ttyUSB0", "driver ftdi_sio, USB 0403:6001; its speed was not measured"),
        not_examined("folder", SECRETS["home"], f"{SECRETS['home']} cannot be read (Permission denied)"),
    ]


def test_no_planted_secret_is_in_the_report_in_any_encoding(tmp_path: Path) -> None:
    report = make_report(examinations(), make_config(tmp_path), tmp_path, lambda words: JOURNAL).encode()
    here = {"this host": socket.gethostname(), "this folder": str(tmp_path), "this user": str(Path.home())}
    for name, secret in (SECRETS | here).items():
        leaked = [form for form in encodings_of(secret) if form in report]
        assert not leaked, name


def test_a_report_keeps_what_a_maintainer_needs(tmp_path: Path) -> None:
    report: dict[str, Any] = json.loads(make_report(examinations(), make_config(tmp_path), tmp_path, lambda _: JOURNAL))
    permission, chip, folder = report["examinations"]
    assert permission["findings"][0]["id"] == "port-denied"
    assert permission["findings"][0]["sentence"] == "* may not open *: it takes the group *"
    assert chip["examined"] == "driver ftdi_sio, USB 0403:6001; its speed was not measured"
    assert (folder["state"], folder["subject"]) == ("not examined", "*")
    assert report["settings"]["model"]["name"] == "a URL"
    assert report["settings"]["line"] == {"port": "set", "marking": "auto", "self_test": True, "reconnect": True}
    assert report["settings"]["spool"]["allow"] == "1 set"
    assert report["settings"]["machine"]["duplex"] == "auto"
    assert "the system clock was set by * s; the session log notes it" in report["messages"]
    assert any(
        "no answer: no program listens there: start the server, or check the port" in m for m in report["messages"]
    )
    assert report["packages"]["pyserial"][0].isdigit()
    assert report["messages_not_read"] == ""


def test_a_report_without_a_journal_says_so(tmp_path: Path) -> None:
    def fail(words: object) -> str:
        raise FileNotFoundError("journalctl")

    report = json.loads(make_report([], Config(line=LineConfig()), tmp_path, fail))
    assert (report["messages"], report["messages_not_read"]) == ([], "journalctl does not answer (FileNotFoundError)")


def test_the_command_writes_the_file_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    assert main(["doctor", "report", str(file)]) == 0
    assert json.loads(file.read_text())["report"] == 1
    assert "read it before you send it" in capsys.readouterr().err
    assert main(["doctor", "report", str(tmp_path / "no/such/folder/report.json")]) == 74


SOURCE = '''
"""A docstring is no template, and mentions ordinary people."""
log.info("the %s of %d lines ended", name, count)
raise Error(f"{port}: held by {name}: end that program first")
KNOWN = "an exact string of the program"
SHORT = f"{a}: {b}"
'''
TEMPLATES = collect_templates([SOURCE])


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("the tape of 3 lines ended", "the * of * lines ended"),
        ("/dev/x: held by ada: end that program first", "*: held by *: end that program first"),
        ("x: held by an exact string of the program: end that program first",
         "*: held by an exact string of the program: end that program first"),
        ("ada said: an exact string of the program", "*: an exact string of the program"),
        ("A docstring is no template, and mentions ordinary people.", "*"),
        ("an exact string of the program, and more", "*"),
        ("", ""),
        ("/dev/ttyUSB0", "/dev/ttyUSB0"),
    ],
)  # fmt: skip
def test_only_the_programs_own_words_stay(message: str, kept: str) -> None:
    assert redact_message(message, TEMPLATES) == kept


@settings(max_examples=50)
@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(TEMPLATES))
def test_what_a_hole_has_never_stays_if_the_program_does_not_say_it(
    first: str, second: str, template: MessageTemplate
) -> None:
    words = [first, second, "ada"]
    message = "".join(
        text + (words[number] if number + 1 < len(template.texts) else "") for number, text in enumerate(template.texts)
    )
    kept = redact_message(message, TEMPLATES)
    own = set("".join(text for each in TEMPLATES for text in each.texts)) | set("*: /devty0123456789abcdefABCDEF")
    letters = set("abcdefghijklmnopqrstuvwxyz")
    assert set(kept) <= own | letters
    assert "ada" not in kept.split() or "ada" in {first, second}
