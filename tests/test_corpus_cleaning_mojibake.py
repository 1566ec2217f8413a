from __future__ import annotations

import lzma
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.cleaning.mojibake import decode_quoted_printable, repair_mojibake, replace_c1_controls
from tools.corpus.cleaning.steps import normalise_characters
from tools.corpus.record import Record

TEXTS = {
    "English": "“The pump’s stuck,” said Zoë — and they rowed… café naïve £5 20 °C ½ ‘tea’",
    "French": "« L’été, déjà vu », dit-il. Où êtes-vous ? À Noël, garçon… œuvre ÉTÉ cœur",
    "German": "„Über die Brücke“, sagte Jürgen. Ärger, Öl, süß. ‚Äpfel‘ DIE MAẞE",
    "Spanish": "¿Qué? ¡Mañana! El niño «está»—dijo él. Ñandú índice árbol AÑO",
    "Portuguese": "Não, irmão, ação. À tarde, você é avó. Maçã IRMÃ, IRMÃO «Olá»",
    "Polish": "Zażółć gęślą jaźń. Świat, łódź, był, była",
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Čas",
    "Turkish": "Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul",
    "Icelandic": "Það er ekkert mál, sagði Þór. ÐÞÆÖ",
    "Swedish": "Åsa åt ägg på ön. ÅÄÖ",
    "Russian": "Насос остановился в понедельник. Мы поплыли домой и пили чай. Илья — «да»",
    "Ukrainian": "Насос зупинився. Їжак і єнот. «Так» — сказав РІК РІСІ СЄ",
    "Greek": "Η αντλία σταμάτησε τη Δευτέρα. Και πάλι",
    "Vietnamese": "Hồi đó bơm bị kẹt. Chúng tôi chèo thuyền về nhà.",
    "Japanese": "ポンプが止まった。月曜日でした。",
    "Chinese": "水泵星期一停了。我们划船回家。",
    "Korean": "펌프가 멈췄다. 우리는 집으로 갔다.",
    "Hebrew": "המשאבה נתקעה ביום שני",
    "Arabic": "توقفت المضخة يوم الاثنين",
    "emoji": "Rowed 👍 home 😀❤️",
    "mathematics": "2√π ≈ 3.5, ¬a ∧ b, x ≈±1, √©, 5 µm ±2 °C ┌─┐ ├─┤ └─┘ ║é║",
}
RIGHT = [form for text in TEXTS.values() for form in (text, text.upper(), text.lower(), text.replace(" ", "\u00a0"))]
ENCODINGS = ("latin-1", "cp1252", "mac_roman", "cp1251", "cp437", "cp850", "cp1250")


def misread(text: str, encoding: str) -> str:
    """Returns UTF-8 as a program shows it in `encoding`, with a control for each byte that has no character."""
    characters = (bytes([byte]).decode(encoding, "replace") for byte in text.encode())
    return "".join(c if c != "\ufffd" else chr(byte) for c, byte in zip(characters, text.encode(), strict=True))


@pytest.mark.parametrize("text", RIGHT)
def test_right_texts_stay(text: str) -> None:
    assert repair_mojibake(text) == text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("language", sorted(TEXTS.keys() - {"mathematics"}))
def test_utf8_in_a_wrong_encoding_is_repaired(language: str, encoding: str) -> None:
    wrong = misread(TEXTS[language], encoding)
    assert repair_mojibake(wrong) == TEXTS[language]
    assert repair_mojibake(f"{wrong} – 日本 Ω") == f"{TEXTS[language]} – 日本 Ω"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251"])
@pytest.mark.parametrize("language", sorted(TEXTS.keys() - {"mathematics"}))
def test_twice_in_a_wrong_encoding_is_repaired(language: str, encoding: str) -> None:
    assert repair_mojibake(misread(misread(TEXTS[language], encoding), encoding)) == TEXTS[language]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("It‚Äôs stuck", "It’s stuck"),
        ("caf√©", "café"),
        ("ZoÃ«", "Zoë"),
        ("РќР°СЃРѕСЃ", "Насос"),
        ("Р\ufffdРІР°РЅ Рё РњР°С€Р°", "Иван и Маша"),
        ("said â€œfineâ€\ufffd and", "said “fine” and"),
        ("Ã¢â‚¬Å“The pumpÃ¢â‚¬â„¢s stuck,Ã¢â‚¬Â\x9d said ZoÃƒÂ«.", "“The pump’s stuck,” said Zoë."),
        ("Íàñîñ îñòàíîâèëñÿ", "Насос остановился"),
        ("Íàñîñ îñòàíîâèëñÿ, è ìû ïîïëûëè 5 ðàç.", "Насос остановился, и мы поплыли 5 раз."),
        ("îÁÓÏÓ ÏÓÔÁÎÏ×ÉÌÓÑ × ÐÏÎÅÄÅÌØÎÉË", "Насос остановился в понедельник"),
        ("Ç áíôëßá óôáìÜôçóå", "Η αντλία σταμάτησε"),
    ],
)
def test_other_mistakes_are_repaired(wrong: str, right: str) -> None:
    assert repair_mojibake(wrong) == right


@pytest.mark.parametrize("right", ["Öööööh", "éééééé", "Où", "à été", "ÅÄÖ", "Ðð Þþ", "ÀÉÎÔÛ", "œuf ô"])
def test_short_words_of_accented_letters_stay(right: str) -> None:
    assert repair_mojibake(right) == right


def test_the_shared_corpus_stays() -> None:
    folder = Path(__file__).parents[1] / "../shared/corpus"
    if not folder.exists():
        pytest.skip("the shared corpus is not here")
    text = lzma.decompress((folder / "young.txt.xz").read_bytes()).decode()
    assert [line for line in text.split("\n") if repair_mojibake(line) != line] == []
    assert decode_quoted_printable(replace_c1_controls(text)) == text


@given(st.text(st.sampled_from("Ãâ€Â©Ã«»“”’â„¢РСџ°√‚Äôé├ΓÇ \u00a0\ufffda")))
def test_any_text_is_repaired_and_stable_in_length(text: str) -> None:
    assert len(repair_mojibake(text)) <= len(text)


@pytest.mark.parametrize(
    "text", ["Ã" * 50_000, "â€" * 50_000, "Р°" * 50_000, "é»…" * 30_000, "Â " * 50_000, "=C3" * 50_000]
)
def test_pathological_texts_are_repaired_quickly(text: str) -> None:
    start = time.process_time()
    decode_quoted_printable(repair_mojibake(text))
    assert time.process_time() - start < 3


def test_controls_of_a_misread_windows_file_become_its_marks() -> None:
    assert (
        replace_c1_controls("The pump\x92s stuck \x93now\x94 \x97 Zoe\x85\nA\x81") == "The pump’s stuck “now” — Zoe…\nA"
    )
    assert replace_c1_controls("Well\x85 he said") == "Well… he said"
    assert replace_c1_controls("one\x85two\x85three") == "one\x85two\x85three"


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("caf=C3=A9 =E2=80=9Cfine=E2=80=9D", "café “fine”"),
        ("The pump was stuck since Monday, and we rowed home over the lake=\n again.=20\ncaf=E9 a=3Db\n", None),
        ("a=3D and x=20 and ?q=C3PO", "a=3D and x=20 and ?q=C3PO"),
        ("======\nx =\ny =\nz =\n", "======\nx =\ny =\nz =\n"),
    ],
)
def test_quoted_printable_is_decoded(text: str, decoded: str | None) -> None:
    mail = "The pump was stuck since Monday, and we rowed home over the lake again. \ncafé a=b\n"
    assert decode_quoted_printable(text) == (mail if decoded is None else decoded)


def test_the_codes_of_terminals_go() -> None:
    assert normalise_characters("\x1b[31mThe pump\x1b[0m is \x1b]0;title\x07stuck") == "The pump is stuck"
    assert normalise_characters("T\bTh\bhe\be _\bp_\bu_\bm_\bp o\b_r\b_") == "The pump or"
    assert normalise_characters("x\bx\bx\b\b") == "x"


def clean(*records: Record, without: frozenset[str] = frozenset()) -> tuple[list[Record], list[str]]:
    counts = CleaningCounts()
    return list(clean_records(records, CleaningOptions(without=without), counts)), counts.notes


def test_names_are_repaired_with_the_texts() -> None:
    (record,), _ = clean(Record("a", "chat with ZoÃ«", "Rowed to the cafÃ©.", kind="message", who="ZoÃ«"))
    assert (record.who, record.thread, record.text) == ("Zoë", "chat with Zoë", "Rowed to the café.")


def test_characters_that_were_lost_before_are_told() -> None:
    _, notes = clean(Record("a", "a", "The pump\ufffds stuck in the caf\ufffd."), Record("b", "b", "Rowed."))
    assert notes == ["2 unreadable characters (\ufffd) in 1 text: look at the file"]
