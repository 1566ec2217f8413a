import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivers.input.line_editor import LineEditor, echo_left_to_print
from drivers.paper.paper import Paper, glyph_of
from drivers.text.printer import Printer

KEYS = st.text(
    st.sampled_from("ABC  \\\n\x7f_\b\x17\x15\x12\x1b\x07\x00\x11\x05\x04}") | st.characters(max_codepoint=127)
)
PLAIN = st.text(st.sampled_from("ABCDE  \x7f\x7f_\b\x17"), max_size=24)  # one line, and no backslash typed


def typed(keys: str, prompt: str = "") -> tuple[str, str]:
    """What the editor has after these keys, and what the paper shows."""
    editor = LineEditor(prompt)
    printer = Printer(column=0)
    strokes = printer.echo_keys(prompt) + [s for key in keys for s in printer.echo_keys(editor.press(key).echo)]
    paper = Paper()
    paper.feed(bytes(stroke.byte for stroke in strokes))
    return editor.text, paper.text()


class Typist:
    """The same editor as a person would explain it: soft lines, each a list of characters. Slow, and plain."""

    def __init__(self, limit: int) -> None:
        self.lines: list[list[str]] = [[]]
        self.limit = limit
        self.submitted: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join("".join(line) for line in self.lines)

    def press(self, key: str) -> None:
        line = self.lines[-1]
        match key:
            case "\r" | "\x03":
                self.submitted += [self.text] if key == "\r" else []
                self.lines = [[]]
            case "\x1b" | "}" | "~":
                self.lines = [[]]
            case "\x15":
                line.clear()
            case "\x7f" | "\b" | "_":
                self.back()
            case "\x17" if not line:
                self.back()
            case "\x17":
                while line and line[-1] == " ":
                    line.pop()
                while line and line[-1] != " ":
                    line.pop()
            case "\n" if self.text and len(self.text) < self.limit:
                self.lines.append([])
            case "\t":
                self.glyph(" ")
            case _ if " " <= key < "`":
                self.glyph(key)
            case _ if key >= "`":
                self.glyph(key.upper() if key.isalpha() else {"`": "@", "{": "[", "|": "\\"}[key])

    def back(self) -> None:
        if self.lines[-1]:
            self.lines[-1].pop()
        elif len(self.lines) > 1:
            self.lines.pop()

    def glyph(self, glyph: str) -> None:
        if len(self.text) < self.limit:
            self.lines[-1].append(glyph)


@given(KEYS, st.sampled_from([3, 10, 4000]))
def test_any_keys_leave_the_text_that_a_person_would_expect(keys, limit):
    editor, typist = LineEditor(limit=limit), Typist(limit)
    submitted = []
    for key in keys:
        outcome = editor.press(key).outcome
        if outcome == "submit":
            submitted.append(editor.text)
        if outcome in ("submit", "interrupt"):
            editor = LineEditor(limit=limit)
        typist.press(key)
        assert editor.text == typist.text
    assert submitted == typist.submitted


@given(KEYS)
def test_what_is_retyped_is_what_would_be_submitted(keys):
    text, paper = typed(keys.replace("\r", "").replace("\x03", "") + "\x12", prompt="? ")
    shown = ("? " + text).split("\n")[-1] if "\n" not in text else text.split("\n")[-1]
    row = max(0, len(shown) - 1) // 72 + 1
    assert "".join(line.ljust(72) for line in paper.split("\n")[-row:]).rstrip(" ") == shown.rstrip(" ")


def as_read(paper: str) -> str:
    """What a person makes of a line who knows that what stands between backslashes was taken back."""
    kept, *rest = paper.split("\\")
    for index, part in enumerate(rest):
        if index % 2 == 0:
            assert kept.endswith(part[::-1])
            kept = kept[: len(kept) - len(part)]
        else:
            kept += part
    return kept


@given(PLAIN)
def test_a_person_can_read_the_text_from_an_edited_line(keys):
    editor = LineEditor()
    echo = "".join(editor.press(key).echo for key in keys)
    assert as_read(echo) == editor.text


@given(PLAIN)
def test_a_person_can_read_it_in_half_duplex_too(keys):
    assume("_" not in keys)  # prints itself, and stands there
    editor = LineEditor(half_duplex=True)
    assert (
        as_read("".join(by_the_machine(key) + echo_left_to_print(editor.press(key).echo, key) for key in keys))
        == editor.text
    )


@given(KEYS)
def test_only_printable_text_is_ever_submitted(keys):
    text, _ = typed(keys)
    assert set(text) <= {chr(code) for code in range(0x20, 0x5F)} | {"\n"}


@given(KEYS)
def test_a_reply_shows_only_what_a_model_33_prints(keys):
    editor = LineEditor("? ")
    echo = "".join(editor.press(key).echo for key in keys)
    assert set(echo) <= {chr(code) for code in range(0x20, 0x60)} | {"\n", "\a"}


def test_rubout_echoes_what_it_deletes_between_backslashes():
    assert typed("HELX\x7f\x7fLO") == ("HELO", "HELX\\XL\\LO")


@pytest.mark.parametrize("key", ["\x7f", "\b", "_"])
def test_three_keys_delete(key):
    assert typed("AB" + key + "C") == ("AC", "AB\\B\\C")


def test_a_rubout_with_nothing_to_delete_is_silent():
    assert typed("\x7f\x7fA") == ("A", "A")


def test_a_rubout_at_the_start_of_a_soft_line_goes_back_to_the_line_above():
    assert typed("AB\n\x7fC") == ("ABC", "AB\n\nABC")


def test_a_deletion_is_closed_before_it_goes_on_on_the_line_above():
    assert typed("AB\nC\x7f\x7fD") == ("ABD", "AB\nC\\C\\\nABD")


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
    editor = LineEditor()
    for key in "AB\x7f":
        editor.press(key)
    reply = editor.press("\r")
    assert (reply.echo, reply.outcome, editor.text) == ("\\\n", "submit", "A")


def test_a_line_feed_after_nothing_is_the_tape_s_and_is_ignored():
    assert typed("\nA") == ("A", "A")


def test_control_c_interrupts():
    editor = LineEditor()
    editor.press("A")
    assert editor.press("\x03").echo == "^C\n"
    assert editor.press("\x03").outcome == "interrupt"


def test_control_d_ends_the_input_only_in_an_empty_line():
    assert LineEditor().press("\x04").outcome == "end"
    editor = LineEditor()
    editor.press("A")
    assert editor.press("\x04").outcome is None


@pytest.mark.parametrize(("key", "shown"), [("\x05", "^E"), ("\x06", "^F"), ("\x18", "^X"), ("\x1f", "^_")])
def test_a_control_that_means_nothing_is_shown_and_refused(key, shown):
    editor = LineEditor()
    editor.press("A")
    assert editor.press(key).echo == shown + "\a"
    assert editor.text == "A"


def test_control_g_only_rings():
    assert LineEditor().press("\a").echo == "\a"


def test_one_character_too_many_is_refused_with_a_bell_and_the_rest_kept():
    editor = LineEditor(limit=3)
    echoes = [editor.press(key).echo for key in "ABCD"]
    assert echoes == ["A", "B", "C", "\a"]
    assert editor.press("\r").outcome == "submit"
    assert editor.text == "ABC"


def test_small_letters_of_a_newer_terminal_are_capitals_here():
    assert typed("hello") == ("HELLO", "HELLO")


def test_the_reader_s_codes_and_tape_leader_do_nothing():
    assert typed("\x00\x11A\x13\x00B") == ("AB", "AB")


# Half duplex.


def by_the_machine(key: str) -> str:
    """What a Model 33 prints of its own key; it does not print its ALT MODE, and functions leave no ink."""
    return "" if key in "}~" else glyph_of(ord(key))


def in_half_duplex(keys: str, limit: int = 4000) -> str:
    """The paper after these keys, LF and CR as the mechanism does them; `\\r` of ours returns and no more."""
    editor, paper = LineEditor(limit=limit, half_duplex=True), Paper()
    for key in keys:
        paper.feed(b"" if key in "}~" else key.encode())
        inked = key == "\r"
        for char in echo_left_to_print(editor.press(key).echo, key):
            paper.feed({"\n": b"\n" if inked else b"\r\n"}.get(char, char.encode()))
            inked = False
    return paper.text()


def test_what_the_machine_has_printed_is_not_printed_again():
    assert in_half_duplex("HELLO\rMORE\r") == "HELLO\nMORE\n"


def test_a_line_feed_of_the_machine_s_wants_the_carriage_back():
    assert in_half_duplex("ONE\nTWO\n\nTHREE") == "ONE\nTWO\n\nTHREE"


def test_a_deletion_is_closed_before_the_next_key_prints_itself():
    assert in_half_duplex("HELX\x7fLO") == "HELX\\X\\LO"
    assert in_half_duplex("AB\x7f\x7fC") == "AB\\B\\\\A\\C"


def test_an_arrow_prints_itself_and_then_what_it_deletes():
    assert in_half_duplex("AB_C") == "AB_\\B\\C"


def test_a_refused_glyph_that_stands_there_is_struck_out():
    assert in_half_duplex("ABC", limit=2) == "ABC\\C\\"
    editor = LineEditor(limit=0, half_duplex=True)
    assert echo_left_to_print(editor.press("C").echo, "C") == "\\C\\\a"


def test_controls_leave_no_ink_of_their_own_and_are_echoed_whole():
    assert in_half_duplex("ONE TWO\x17X\x12") == "ONE TWO\\OWT\\X^R\nONE X"
    assert in_half_duplex("ABC\x15D\x1bE}F") == "ABC^U\nD$\nE$\nF"
    assert in_half_duplex("A\tB\x05") == "A B^E"


def test_a_bell_is_not_rung_twice():
    assert echo_left_to_print(LineEditor().press("\a").echo, "\a") == ""


@given(KEYS)
def test_the_last_line_retyped_in_half_duplex_is_what_would_be_submitted(keys):
    keys = keys.replace("\r", "").replace("\x03", "")
    editor = LineEditor(half_duplex=True)
    for key in keys:
        editor.press(key)
    assume(len(editor.text) < 60)
    last = in_half_duplex(keys + "\x12").split("\n")[-1]
    assert last == editor.text.split("\n")[-1].rstrip(" ")
