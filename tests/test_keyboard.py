import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.charset import even_parity
from drivers.keyboard import Editor, Keyboard
from drivers.paper import Paper
from drivers.printer import Printer

KEYS = st.text(
    st.sampled_from("ABC  \\\n\x7f_\b\x17\x15\x12\x1b\x07\x00\x11\x05\x04}") | st.characters(max_codepoint=127)
)


def typed(keys: str, prompt: str = "") -> tuple[str, str]:
    """What the editor has after these keys, and what the paper shows."""
    editor = Editor(prompt)
    printer = Printer(column=0)
    strokes = printer.echo(prompt) + [s for key in keys for s in printer.echo(editor.press(key).echo)]
    paper = Paper()
    paper.feed(bytes(stroke.byte for stroke in strokes))
    return editor.text, paper.text()


def reference(keys: str) -> str:
    """The same editor as a person would explain it."""
    text = ""
    for key in keys:
        line = text.split("\n")[-1]
        if key in "\x7f\b_":
            text = text[:-1]
        elif key == "\x17":
            stripped = line.rstrip(" ")
            word = stripped.split(" ")[-1] if stripped else ""
            text = text[: len(text) - max(1, len(line) - len(stripped) + len(word))] if text else ""
        elif key == "\x15":
            text = text[: len(text) - len(line)]
        elif key in "\x1b}~":
            text = ""
        elif key == "\n":
            text += "\n" if text else ""
        elif key == "\t":
            text += " "
        elif key >= "`":
            text += chr(ord(key) - 32)
        elif key >= " ":
            text += key
    return text


@given(KEYS)
def test_the_editor_agrees_with_the_reference(keys):
    keys = keys.replace("\r", "").replace("\x03", "")
    assert typed(keys)[0] == reference(keys)


@given(KEYS)
def test_what_is_retyped_is_what_would_be_submitted(keys):
    text, paper = typed(keys.replace("\r", "").replace("\x03", "") + "\x12", prompt="? ")
    shown = ("? " + text).split("\n")[-1] if "\n" not in text else text.split("\n")[-1]
    row = max(0, len(shown) - 1) // 72 + 1
    assert "".join(line.ljust(72) for line in paper.split("\n")[-row:]).rstrip(" ") == shown.rstrip(" ")


@given(KEYS)
def test_only_printable_text_is_ever_submitted(keys):
    text, _ = typed(keys)
    assert set(text) <= {chr(code) for code in range(0x20, 0x5F)} | {"\n"}


def test_rubout_echoes_what_it_deletes_between_backslashes():
    assert typed("HELX\x7f\x7fLO") == ("HELO", "HELX\\XL\\LO")


@pytest.mark.parametrize("key", ["\x7f", "\b", "_"])
def test_three_keys_delete(key):
    assert typed("AB" + key + "C") == ("AC", "AB\\B\\C")


def test_a_rubout_with_nothing_to_delete_is_silent():
    assert typed("\x7f\x7fA") == ("A", "A")


def test_a_rubout_at_the_start_of_a_soft_line_goes_back_to_the_line_above():
    assert typed("AB\n\x7fC") == ("ABC", "AB\n\nABC")


def test_control_w_deletes_a_word_and_the_blanks_behind_it():
    assert typed("ONE TWO  \x17THREE") == ("ONE THREE", "ONE TWO  \\  OWT\\THREE")


def test_control_u_kills_the_line_and_shows_the_prompt_again():
    assert typed("ABC\x15D", prompt="? ") == ("D", "? ABC^U\n? D")


def test_control_u_leaves_the_soft_lines_above():
    assert typed("ONE\nTWO\x15THREE")[0] == "ONE\nTHREE"


def test_control_r_types_the_line_again_clean():
    assert typed("HELX\x7fLO\x12", prompt="? ") == ("HELLO", "? HELX\\X\\LO^R\n? HELLO")


@pytest.mark.parametrize("key", ["\x1b", "}", "~"])
def test_alt_mode_in_its_three_codes_drops_all_of_it(key):
    assert typed("ONE\nTWO" + key + "A") == ("A", "ONE\nTWO$\nA")


def test_return_submits_and_closes_a_deletion():
    editor = Editor()
    for key in "AB\x7f":
        editor.press(key)
    reply = editor.press("\r")
    assert (reply.echo, reply.outcome, editor.text) == ("\\\n", "submit", "A")


def test_a_line_feed_after_nothing_is_the_tape_s_and_is_ignored():
    assert typed("\nA") == ("A", "A")


def test_control_c_interrupts():
    editor = Editor()
    editor.press("A")
    assert editor.press("\x03").echo == "^C\n"
    assert editor.press("\x03").outcome == "interrupt"


def test_control_d_ends_the_input_only_in_an_empty_line():
    assert Editor().press("\x04").outcome == "end"
    editor = Editor()
    editor.press("A")
    assert editor.press("\x04").echo == "\a"


def test_one_character_too_many_is_refused_with_a_bell_and_the_rest_kept():
    editor = Editor(limit=3)
    echoes = [editor.press(key).echo for key in "ABCD"]
    assert echoes == ["A", "B", "C", "\a"]
    assert editor.press("\r").outcome == "submit"
    assert editor.text == "ABC"


def test_small_letters_of_a_newer_terminal_are_capitals_here():
    assert typed("hello") == ("HELLO", "HELLO")


def test_the_reader_s_codes_and_tape_leader_do_nothing():
    assert typed("\x00\x11A\x13\x00B") == ("AB", "AB")


def received(data: bytes) -> Keyboard:
    keyboard = Keyboard()
    for byte in data:
        keyboard.receive(byte)
    return keyboard


@pytest.mark.parametrize("byte", range(256))
def test_the_parity_bit_is_stripped(byte):
    assert Keyboard().receive(byte) == chr(byte & 0x7F)


@pytest.mark.parametrize(
    ("data", "parity"),
    [
        (bytes(map(even_parity, b"HELLO CAB")), "even"),
        (bytes(byte | 0x80 for byte in b"HELLO CAB"), "mark"),
        (b"HELLO CAB", "space"),
        (b"HELLO CAB \xc1", "space"),
        (b"", None),
        (b"AA", None),
    ],
)
def test_the_parity_of_the_keyboard_is_learned(data, parity):
    assert received(data).parity == parity
