from __future__ import annotations

import lzma
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.formats.prose import describe_non_prose, has_sentences

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "../shared/corpus"

CODE = """int pump_state = 0;
/* start the pump */
void start(int pin) {
    digitalWrite(pin, HIGH);
    pump_state = 1;
}
"""
NOT_PROSE = {
    "source code": [
        CODE,
        "import os\nimport sys\n\n\ndef start(pin):\n    pin.on()\n    return pin\n\n\nstart(3)\n",
        "function start(pin) {\n  pin.on();\n  return pin;\n}\nstart(3);\n",
        "        .text\n        .globl start\nstart:  mov r0, #1\n        ldr r1, =pin\n        str r0, [r1]\n",
        "--- a/pump.c\n+++ b/pump.c\n@@ -1,2 +1,2 @@\n-int a;\n+int b;\n+int c;\n",
        "SELECT a FROM (p);\nINSERT INTO p VALUES (1);\nCREATE TABLE x (a INT);\nDROP TABLE (y);\nDELETE FROM (z);\n",
    ],
    "a hex dump": [
        ":10010000214601360121470136007EFE09D2190140\n" * 8 + ":00000001FF\n",
        "S1137AF00A0A0D0000000000000000000000000061\n" * 8,
        "00000000  7f 45 4c 46 02 01 01 00  00 00 00 00 00 00 00 00  |.ELF............|\n" * 8,
        "0000000 457f 464c 0102 0001 0000 0000 0000 0000\n" * 8,
        "0x00, 0x1F, 0x20, 0x7F, 0x00, 0x1F, 0x20, 0x7F,\n" * 8,
    ],
    "encoded data": ["-----BEGIN X-----\n" + "MIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\n" * 8],
    "checksums": ["".join(f"{n:064x}  file{n}.txt\n" for n in range(9))],
    "a table of numbers": ["".join(f"{n} {n * 7.5:.2f} -{n}e3 4\n" for n in range(30))],
    "a word list": ["".join(f"word{chr(97 + n % 26)}\n" for n in range(60)), "".join(f"pump {n}\n" for n in range(60))],
    "a log of a program": [
        "".join(f"2021-03-01 10:00:{n:02} INFO pump started\n" for n in range(20)),
        "".join(f"Mar  1 10:00:{n:02} host pumpd[12]: started\n" for n in range(20)),
        "".join(f"[{n:5}.123456] usb 1-1: new device\n" for n in range(20)),
        '127.0.0.1 - - [01/Mar/2021:10:00:00 +0000] "GET / HTTP/1.1" 200 5\n' * 9,
    ],
    "markup": ["<package>\n<metadata>\n<title>The Pump</title>\n</metadata>\n<manifest/>\n</package>\n"],
    "settings": ["".join(f'[part{n}]\npump_{n} = {n}\nname = "x"\n' for n in range(5))],
    "minified or encoded data": ["var a=function(b){return b+1};" * 400, "QUJD" * 2000],
}
PROSE = {
    "a poem": "Tyger Tyger, burning bright,\nIn the forests of the night;\nWhat immortal hand or eye,\n" * 9,
    "a play": "HAMLET.\nTo be, or not to be.\nOPHELIA.\nMy lord?\nHAMLET.\nAy.\n" * 9,
    "a dialogue": "Odo: Yes.\nMara: No.\nOdo: Tea?\nMara: Please.\n" * 9,
    "short lines": "Yes.\nNo.\nTea.\nBed.\nAy.\nOh!\n" * 12,
    "a haiku": "old pond\nfrog leaps in\nsplash\n\n" * 12,
    "a recipe": "2 eggs\n100 g of flour\n1 l of milk\nsalt\nMix.\nBake for 20 minutes.\n" * 3,
    "a diary": "1 March. Rowed.\n2 March. Tea with Lys.\n3 March. Rain.\n" * 9,
    "semicolons": "He rowed;\nshe slept;\nthey ate;\n" * 9,
    "a table of contents": "".join(f"CHAPTER {n} ........ {n * 10}\n" for n in range(30)),
    "capitals": "TELETYPE CORPORATION\nBULLETIN 310B\nTOUHY AVENUE\n" * 9,
    "a tutorial": f"The pump is started by a small program, which the next lines show in full.\n\n{CODE}\n"
    "It sets the pin, and then the state of the pump, as you can see above.\nThe state is read by the other half, "
    "which runs once a second.\nWe rowed home after that, and had tea with everybody.\nThat was all of Monday.\n"
    "The rest of the week was dry, so nobody looked at it.\n",
    "two lines": "x = 1;\ny = 2;\n",
    "nothing": "\n \n",
}


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in NOT_PROSE.items() for text in texts])
def test_texts_without_sentences_are_named(reason: str, text: str) -> None:
    assert describe_non_prose(text) == reason


@pytest.mark.parametrize("kind", PROSE)
def test_prose_verse_and_lists_of_people_are_taken(kind: str) -> None:
    assert describe_non_prose(PROSE[kind]) == ""


@pytest.mark.parametrize("name", ["base.txt.xz", "young.txt.xz", "teletype.txt"])
def test_no_part_of_a_real_book_or_scanned_manual_is_left(name: str) -> None:
    if not CORPUS.exists():
        pytest.skip("the shared corpus is not here")
    data = (CORPUS / name).read_bytes()
    text = (lzma.decompress(data) if name.endswith("xz") else data).decode()[: 8 << 20]
    for size in (2000, 1 << 16):
        for start in range(0, len(text), max(size, 20_000)):
            part = text[start : start + size]
            assert describe_non_prose(part) == "", part[:300]
            assert size == 2000 or has_sentences(part)


def test_this_repository_is_source_code() -> None:
    sources = [path.read_text() for path in (ROOT / "tools").rglob("*.py")]
    named = [describe_non_prose(source) or not has_sentences(source) for source in sources if source.count("\n") > 20]
    assert sum(map(bool, named)) > 0.9 * len(named)


def test_sentences_in_several_languages() -> None:
    for text in (
        "Die Pumpe läuft seit Montag nicht.",
        "Насос не работает с утра",
        "日本語のポンプが止まった。",
        "“We rowed all day,” he said",
    ):
        assert has_sentences(text)
    for text in ("WHEEL 1.0\npip", "en_GB\nen_US", "", "a=b\nc=d"):
        assert not has_sentences(text)


@given(st.text(max_size=600))
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(describe_non_prose(text), str)


@pytest.mark.parametrize("unit", ["a", " ", "a ", "(", "=", "<", "x = ", "a.b(", "\n", "ab-", "{;"])
def test_pathological_texts_are_judged_quickly(unit: str) -> None:
    start = time.process_time()
    describe_non_prose(unit * (65536 // len(unit)))
    describe_non_prose((unit * 200 + "\n") * 300)
    has_sentences(unit * (65536 // len(unit)))
    assert time.process_time() - start < 2
