"""The message of every error of a model is one line of a bounded length, without control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import MAX_MESSAGE_CHARS, InvalidParameter, ModelDamaged, ModelError, ServerLost
from model.printable import escape_controls


@given(st.text())
def test_a_message_is_one_line(text: str) -> None:
    for error in (ModelError(text), ModelDamaged(text), InvalidParameter(text, "x"), ServerLost(text)):
        assert str(error) == escape_controls(text)


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "a\r\nb", "\u202eabc", "\x9b2J", "\u2028", "\ufeff"])
def test_no_control_character_and_no_bidi_mark_is_left(text: str) -> None:
    assert not set(str(ModelError(text))) & set("\x1b\x07\r\n\u202e\x9b\u2028\ufeff")


def test_a_long_message_keeps_its_begin_and_its_cure() -> None:
    message = str(ModelDamaged("model.onnx: " + "x" * 1_000_000 + "; fetch it again"))
    assert message.startswith("model.onnx: x")
    assert message.endswith("; fetch it again")
    assert len(message) < MAX_MESSAGE_CHARS + 10
