import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivers.input.line_editor import LineEditor, echo_left_to_print
from drivers.paper.paper import Paper, glyph_of
from drivers.text.printer import Printer

KEYS = st.text(
    st.sampled_from("ABC  \\\n\x7f_\b\x17\x15\x12\x1b\x07\x00\x11\x05\x04}") | st.characters(max_codepoint=127)
)
PLAIN = st.text(st.sampled_from("ABCDE  \x7f\x7f_\b\x17"), max_size=24)  # one line, without typed backslashes


def type_keys(keys: str, prompt: str = "") -> tuple[str, str]:
    """Returns the editor's text after these keys, and the paper."""
    editor = LineEditor(prompt)
    printer = Printer(column=0)
    strokes = printer.echo_keys(prompt) + [s for key in keys for s in printer.echo_keys(editor.press(key).echo)]
    paper = Paper()
    paper.feed(bytes(stroke.byte for stroke in strokes))
    return editor.text, paper.text()


class ReferenceEditor:
    """A simple, slow reference editor: soft lines, each a list of characters."""

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
def test_any_keys_give_the_text_of_the_reference_editor(keys, limit):
    editor, reference = LineEditor(limit=limit), ReferenceEditor(limit)
    submitted = []
    for key in keys:
        outcome = editor.press(key).outcome
        if outcome == "submit":
            submitted.append(editor.text)
        if outcome in ("submit", "interrupt"):
            editor = LineEditor(limit=limit)
        reference.press(key)
        assert editor.text == reference.text
    assert submitted == reference.submitted


@given(KEYS)
def test_the_retyped_line_is_the_submitted_text(keys):
    text, paper = type_keys(keys.replace("\r", "").replace("\x03", "") + "\x12", prompt="? ")
    last_line = ("? " + text).split("\n")[-1] if "\n" not in text else text.split("\n")[-1]
    row = max(0, len(last_line) - 1) // 72 + 1
    assert "".join(line.ljust(72) for line in paper.split("\n")[-row:]).rstrip(" ") == last_line.rstrip(" ")


def read_back(paper: str) -> str:
    """Returns the text of a printed line, for a reader who knows that backslashes enclose deleted characters."""
    text_left, *rest = paper.split("\\")
    for index, part in enumerate(rest):
        if index % 2 == 0:
            assert text_left.endswith(part[::-1])
            text_left = text_left[: len(text_left) - len(part)]
        else:
            text_left += part
    return text_left


@given(PLAIN)
def test_a_person_can_read_the_text_from_an_edited_line(keys):
    editor = LineEditor()
    echo = "".join(editor.press(key).echo for key in keys)
    assert read_back(echo) == editor.text


@given(PLAIN)
def test_a_person_can_read_the_text_in_half_duplex(keys):
    assume("_" not in keys)  # the arrow prints itself
    editor = LineEditor(half_duplex=True)
    paper = "".join(machine_print(key) + echo_left_to_print(editor.press(key).echo, key) for key in keys)
    assert read_back(paper) == editor.text


@given(KEYS)
def test_only_printable_text_is_ever_submitted(keys):
    text, _ = type_keys(keys)
    assert set(text) <= {chr(code) for code in range(0x20, 0x5F)} | {"\n"}


@given(KEYS)
def test_the_echo_has_only_glyphs_of_a_model_33(keys):
    editor = LineEditor("? ")
    echo = "".join(editor.press(key).echo for key in keys)
    assert set(echo) <= {chr(code) for code in range(0x20, 0x60)} | {"\n", "\a"}


def test_rubout_echoes_what_it_deletes_between_backslashes():
    assert type_keys("HELX\x7f\x7fLO") == ("HELO", "HELX\\XL\\LO")


@pytest.mark.parametrize("key", ["\x7f", "\b", "_"])
def test_three_keys_delete(key):
    assert type_keys("AB" + key + "C") == ("AC", "AB\\B\\C")


def test_a_rubout_with_nothing_to_delete_is_silent():
    assert type_keys("\x7f\x7fA") == ("A", "A")


def test_a_rubout_at_the_start_of_a_soft_line_goes_back_to_the_line_above():
    assert type_keys("AB\n\x7fC") == ("ABC", "AB\n\nABC")


def test_a_deletion_is_closed_before_the_line_above():
    assert type_keys("AB\nC\x7f\x7fD") == ("ABD", "AB\nC\\C\\\nABD")


def test_control_w_deletes_a_word_and_the_blanks_after_it():
    assert type_keys("ONE TWO  \x17THREE") == ("ONE THREE", "ONE TWO  \\  OWT\\THREE")


def test_control_u_kills_the_line_and_shows_the_prompt_again():
    assert type_keys("ABC\x15D", prompt="? ") == ("D", "? ABC^U\n? D")


def test_control_u_leaves_the_soft_lines_above():
    assert type_keys("ONE\nTWO\x15THREE")[0] == "ONE\nTHREE"


def test_control_r_types_the_line_again_clean():
    assert type_keys("HELX\x7fLO\x12", prompt="? ") == ("HELLO", "? HELX\\X\\LO^R\n? HELLO")


@pytest.mark.parametrize("key", ["\x1b", "}", "~"])
def test_alt_mode_in_its_three_codes_drops_all_of_it(key):
    assert type_keys("ONE\nTWO" + key + "A") == ("A", "ONE\nTWO$\nA")


def test_return_submits_and_closes_a_deletion():
    editor = LineEditor()
    for key in "AB\x7f":
        editor.press(key)
    reply = editor.press("\r")
    assert (reply.echo, reply.outcome, editor.text) == ("\\\n", "submit", "A")


def test_a_line_feed_in_an_empty_line_is_ignored():
    assert type_keys("\nA") == ("A", "A")


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


@pytest.mark.parametrize(("key", "last_line"), [("\x05", "^E"), ("\x06", "^F"), ("\x18", "^X"), ("\x1f", "^_")])
def test_an_unknown_control_is_shown_and_refused(key, last_line):
    editor = LineEditor()
    editor.press("A")
    assert editor.press(key).echo == last_line + "\a"
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
    assert type_keys("hello") == ("HELLO", "HELLO")


def test_the_reader_s_codes_and_tape_leader_do_nothing():
    assert type_keys("\x00\x11A\x13\x00B") == ("AB", "AB")


# Half duplex.


def machine_print(key: str) -> str:
    """Returns what a Model 33 prints of its own key; it prints neither its ALT MODE nor functions."""
    return "" if key in "}~" else glyph_of(ord(key))


def type_half_duplex(keys: str, limit: int = 4000) -> str:
    """Returns the paper after these keys, with LF and CR as the mechanism does them."""
    editor, paper = LineEditor(limit=limit, half_duplex=True), Paper()
    for key in keys:
        paper.feed(b"" if key in "}~" else key.encode())
        inked = key == "\r"
        for char in echo_left_to_print(editor.press(key).echo, key):
            paper.feed({"\n": b"\n" if inked else b"\r\n"}.get(char, char.encode()))
            inked = False
    return paper.text()


def test_half_duplex_does_not_print_a_key_twice():
    assert type_half_duplex("HELLO\rMORE\r") == "HELLO\nMORE\n"


def test_after_a_local_line_feed_the_carriage_is_returned():
    assert type_half_duplex("ONE\nTWO\n\nTHREE") == "ONE\nTWO\n\nTHREE"


def test_a_deletion_is_closed_before_the_next_key_prints_itself():
    assert type_half_duplex("HELX\x7fLO") == "HELX\\X\\LO"
    assert type_half_duplex("AB\x7f\x7fC") == "AB\\B\\\\A\\C"


def test_an_arrow_prints_itself_and_then_what_it_deletes():
    assert type_half_duplex("AB_C") == "AB_\\B\\C"


def test_a_refused_local_glyph_is_struck_out():
    assert type_half_duplex("ABC", limit=2) == "ABC\\C\\"
    editor = LineEditor(limit=0, half_duplex=True)
    assert echo_left_to_print(editor.press("C").echo, "C") == "\\C\\\a"


def test_controls_leave_no_ink_of_their_own_and_are_echoed_whole():
    assert type_half_duplex("ONE TWO\x17X\x12") == "ONE TWO\\OWT\\X^R\nONE X"
    assert type_half_duplex("ABC\x15D\x1bE}F") == "ABC^U\nD$\nE$\nF"
    assert type_half_duplex("A\tB\x05") == "A B^E"


def test_a_bell_is_not_rung_twice():
    assert echo_left_to_print(LineEditor().press("\a").echo, "\a") == ""


@given(KEYS)
def test_in_half_duplex_the_retyped_line_is_the_submitted_text(keys):
    keys = keys.replace("\r", "").replace("\x03", "")
    editor = LineEditor(half_duplex=True)
    for key in keys:
        editor.press(key)
    assume(len(editor.text) < 60)
    last = type_half_duplex(keys + "\x12").split("\n")[-1]
    assert last == editor.text.split("\n")[-1].rstrip(" ")
