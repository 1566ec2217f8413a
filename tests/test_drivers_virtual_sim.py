from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import NoSuchKey
from drivers.line.line_input import Break, Byte, FramingError
from drivers.profile import Profile
from drivers.text.charset import even_parity
from drivers.virtual import AnswerbackDrum, Equipment, SimEvent, Strike, TeletypeSim, encode_drum

ENQ, DC1, DC2, DC3, DC4 = 0x05, 0x11, 0x12, 0x13, 0x14
FULL_OF_OPTIONS = Profile(auto_reader=True, auto_punch=True, answerback=True)


def make_sim(fitted: Equipment | None = None, **profile: Any) -> TeletypeSim:
    fitted = fitted or Equipment()
    return TeletypeSim(replace(fitted, profile=replace(fitted.profile, **profile)), rng=Random(33))


def host_input(events: list[SimEvent]) -> list[Byte | Break | FramingError]:
    return [event for event in events if not isinstance(event, Strike)]


def text_to_host(events: list[SimEvent]) -> bytes:
    """Returns the characters that the host receives, without the parity bit."""
    return bytes(event.value & 0x7F for event in host_input(events) if isinstance(event, Byte))


def send_text(machine: TeletypeSim, text: bytes, at: float = 0.0) -> list[SimEvent]:
    """Sends a text from the host at the line's own pace; returns all events meanwhile."""
    events: list[SimEvent] = []
    for byte in text:
        events += machine.advance(at)
        machine.receive(even_parity(byte), at)
        at += 0.1
    return events + machine.advance(at)


# Duplex.


def test_in_full_duplex_the_host_hears_no_echo_and_the_paper_no_key():
    machine = make_sim()
    assert host_input(send_text(machine, b"HI")) == []
    machine.press_key(0x41, 1.0)
    assert host_input(machine.advance(2.0)) == [Byte(0x41)]
    assert machine.typing_unit.paper.text() == "HI"


def test_in_half_duplex_each_byte_comes_back_bit_for_bit_one_character_time_later():
    machine = make_sim(duplex="half")
    for n, byte in enumerate(b"\x00\xff\x8d\x7f\x41"):
        machine.receive(byte, n * 0.1)
        assert host_input(machine.advance(n * 0.1 + 0.09)) == []
        assert host_input(machine.advance(n * 0.1 + 0.1)) == [Byte(byte)]


def test_in_half_duplex_a_key_prints_and_is_heard():
    machine = make_sim(duplex="half")
    machine.press_key(0x41, 0.0)
    assert host_input(machine.advance(0.2)) == [Byte(0x41)]
    assert machine.typing_unit.paper.text() == "A"
    assert [(strike.start, strike.local) for strike in machine.typing_unit.strikes] == [(0.0, True)]


@pytest.mark.parametrize("apart", [-0.05, 0.0, 0.07])
def test_in_half_duplex_a_key_over_a_character_damages_it(apart):
    machine = make_sim(duplex="half")
    if apart < 0:
        machine.press_key(0x47, 1.0 + apart)
        machine.receive(0xCD, 1.0)
    else:
        machine.receive(0xCD, 1.0)
        machine.advance(1.0 + apart)
        machine.press_key(0x47, 1.0 + apart)
    assert host_input(machine.advance(2.0)) == [FramingError(0xCD & 0x47)]
    assert machine.typing_unit.paper.text() == chr(0xCD & 0x47)
    assert machine.typing_unit.strike_count == 1


def test_a_key_between_two_characters_spoils_neither():
    machine = make_sim(duplex="half")
    machine.receive(0x41, 0.0)
    machine.advance(0.1)
    machine.press_key(0x42, 0.1)
    machine.advance(0.2)
    machine.receive(0x43, 0.2)
    machine.advance(0.4)
    assert machine.typing_unit.paper.text() == "ABC"


def test_in_local_the_keys_print_and_the_line_is_disconnected():
    machine = make_sim(duplex="half")
    machine.set_line_switch("local")
    assert host_input(send_text(machine, b"HOST")) == []
    machine.press_key(0x41, 1.0)
    machine.hold_break(1.2)
    assert host_input(machine.advance(2.0)) == []
    assert machine.typing_unit.paper.text() == "A"
    assert machine.lost_characters == 4


def test_a_character_that_is_under_way_as_the_knob_goes_to_local_is_not_printed():
    machine = make_sim()
    machine.receive(0x41, 0.0)
    machine.advance(0.05)
    machine.set_line_switch("local")
    assert machine.advance(1.0) == []


def test_a_machine_switched_off_does_nothing():
    machine = make_sim(answerback=True)
    machine.set_line_switch("off")
    send_text(machine, b"HOST\x05")
    machine.press_key(0x41, 1.0)
    machine.here_is(1.1)
    machine.start_reader(1.2)
    machine.hold_break(1.3)
    assert machine.advance(9.0) == []
    assert machine.typing_unit.strike_count == 0


# BREAK.


def test_a_break_is_reported_once():
    machine = make_sim()
    assert machine.hold_break(1.0, 5.0) == 6.0
    assert host_input(machine.advance(1.099)) == []
    assert host_input(machine.advance(1.1)) == [Break()]
    assert host_input(machine.advance(9.0)) == []
    assert machine.keys_free_at == 6.0


def test_a_break_too_short_for_a_character_reads_as_one():
    machine = make_sim()
    machine.hold_break(0.0, 0.03)  # the start bit and two more of eleven
    assert host_input(machine.advance(1.0)) == [Byte(0xFC)]


def test_in_half_duplex_a_break_destroys_the_echo_of_what_the_host_says():
    machine = make_sim(duplex="half")
    events: list[SimEvent] = []
    for n in range(6):
        if n == 2:
            events += machine.advance(0.15)
            machine.hold_break(0.15, 0.2)
        events += machine.advance(n * 0.1)
        machine.receive(0x41, n * 0.1)
    events += machine.advance(9.0)
    values = [event.value for event in host_input(events) if isinstance(event, Byte)]
    spoilt = [event for event in host_input(events) if isinstance(event, FramingError)]
    assert values == [0x41] * 3
    assert spoilt == [FramingError(0x00)] * 3  # the one under way, and those that began while the key was held
    assert host_input(events).count(Break()) == 1
    assert machine.typing_unit.paper.text() == "AAA"


def test_a_break_in_full_duplex_does_no_harm_to_what_is_printed():
    machine = make_sim()
    machine.hold_break(0.05, 0.3)
    send_text(machine, b"HELLO", at=0.1)
    assert machine.typing_unit.paper.text() == "HELLO"


def test_break_stops_the_reader():
    machine = make_sim(Equipment(tape=b"A" * 50))
    machine.start_reader(0.0)
    machine.advance(0.95)
    machine.hold_break(0.95)
    assert text_to_host(machine.advance(9.0)) == b""
    assert not machine.reader.is_running


# The drum.


def test_the_answer_begins_a_character_late_and_is_ten_characters_a_second():
    machine = make_sim(Equipment(answerback_rows=encode_drum("HI")), answerback=True)
    machine.receive(ENQ, 0.0)
    assert host_input(machine.advance(0.1)) == []
    assert host_input(machine.advance(0.25)) == []  # the first row is always silent
    assert text_to_host(machine.advance(0.31)) == b"H"
    assert text_to_host(machine.advance(0.41)) == b"I"
    assert machine.drum.is_turning
    assert host_input(machine.advance(9.0)) == []
    assert not machine.drum.is_turning


def test_twenty_characters_take_two_seconds_and_a_tenth():
    machine = make_sim(Equipment(answerback_rows=encode_drum("ABCDEFGHIJKLMNOPQRST")), answerback=True)
    machine.here_is(0.0)
    assert len(text_to_host(machine.advance(2.09))) == 19
    assert len(text_to_host(machine.advance(2.11))) == 1
    assert not machine.drum.is_turning


def test_a_drum_holds_at_most_twenty_characters():
    with pytest.raises(NoSuchKey, match="room for 20"):
        AnswerbackDrum(encode_drum("ABCDEFGHIJKLMNOPQRSTU"))
    with pytest.raises(NoSuchKey, match="give ASCII"):
        encode_drum("É")


def test_without_a_drum_enq_does_nothing_and_is_forbidden():
    machine = make_sim()
    assert host_input(send_text(machine, b"\x05")) == []
    machine.here_is(1.0)
    assert machine.advance(9.0) == []
    assert [strike.byte for strike in machine.typing_unit.forbidden] == [ENQ]


def answers(machine: TeletypeSim, *enquiries: bytes) -> list[bool]:
    """Returns whether each of these ENQs, three seconds apart, is answered."""
    answered = []
    for n, text in enumerate(enquiries):
        events = send_text(machine, text, at=n * 3.0)
        answered.append(bool(host_input(events + machine.advance(n * 3.0 + 2.9))))
    return answered


def test_a_drum_without_its_last_tine_answers_every_other_time():
    machine = make_sim(Equipment(every_other=True), answerback=True)
    assert answers(machine, b"\x05", b"\x05", b"\x05", b"\x05") == [True, False, True, False]


def test_another_character_in_between_frees_the_drum():
    machine = make_sim(Equipment(every_other=True), answerback=True)
    assert answers(machine, b"\x05", b"\x00\x05", b"A\x05", b"\x05", b"\x05") == [True, True, True, False, True]


def test_a_local_enq_does_not_start_the_drum():
    machine = make_sim(duplex="half", answerback=True)
    machine.press_key(ENQ, 0.0)
    assert text_to_host(machine.advance(9.0)) == b"\x05"
    assert machine.drum.turn_count == 0


def test_keys_during_the_answer_are_ored_into_it():
    machine = make_sim(Equipment(answerback_rows=b"\x41\x42\x44"), answerback=True)
    machine.here_is(0.0)
    machine.advance(0.15)
    assert machine.press_key(0x30, 0.15) == pytest.approx(0.3)
    assert host_input(machine.advance(9.0)) == [Byte(0x41), Byte(0x42 | 0x30), Byte(0x44)]


def test_a_key_during_the_silent_row_is_lost():
    machine = make_sim(Equipment(answerback_rows=b"\x41\x42", tape=b"XY"), answerback=True)
    machine.start_reader(0.0)
    machine.advance(0.05)
    machine.press_key(0x30, 0.05)
    machine.here_is(0.06)
    assert text_to_host(machine.advance(9.0)) == b"XAB"


def test_a_reader_that_the_drum_cannot_stop_is_ored_into_the_answer():
    machine = make_sim(Equipment(answerback_rows=b"\x41\x42", tape=b"\x20\x04\x08\x10"), answerback=True)
    machine.here_is(0.0)
    machine.start_reader(0.0)
    # The reader begins after the first row of the drum; the uncoded rows of the drum silence its other rows.
    assert host_input(machine.advance(9.0)) == [Byte(0x61), Byte(0x46)]


# The reader.


def text_until(machine: TeletypeSim, until: float) -> bytes:
    return text_to_host(machine.advance(until))


def test_dc1_starts_the_reader_at_ten_rows_a_second_and_the_tapes_end_stops_it():
    machine = make_sim(Equipment(tape=b"HELLO"), auto_reader=True)
    machine.receive(DC1, 0.0)
    assert text_until(machine, 0.1) == b""
    assert text_until(machine, 0.31) == b"HE"
    assert text_until(machine, 9.0) == b"LLO"
    assert machine.reader.is_out_of_tape
    assert not machine.reader.is_running


def test_without_the_option_only_the_lever_starts_the_reader():
    machine = make_sim(Equipment(tape=b"HELLO"))
    machine.receive(DC1, 0.0)
    assert text_until(machine, 1.0) == b""
    machine.start_reader(1.0)
    assert text_until(machine, 9.0) == b"HELLO"


@pytest.mark.parametrize("lag", [1, 2])
def test_after_an_x_off_that_the_host_echoes_so_many_more_come(lag):
    machine = make_sim(Equipment(tape=b"AB\x13CDEF", reader_lag=lag), duplex="half", auto_reader=True)
    machine.start_reader(0.0)
    assert text_until(machine, 9.0) == b"AB\x13" + b"CD"[:lag]
    machine.start_reader(9.0)
    assert text_until(machine, 19.0) == b"CDEF"[lag:]


@pytest.mark.parametrize("lag", [1, 2])
def test_a_rubout_right_after_the_x_off_stops_the_reader_there(lag):
    machine = make_sim(Equipment(tape=b"AB\x13\xffCD", reader_lag=lag), duplex="half", auto_reader=True)
    machine.start_reader(0.0)
    assert text_until(machine, 9.0) == b"AB\x13\x7f"


@pytest.mark.parametrize(("lag", "late"), [(1, 1), (2, 2)])
def test_after_the_hosts_xoff_the_row_under_way_counts_as_the_first(lag, late):
    machine = make_sim(Equipment(tape=b"ABCDEFGHIJ", reader_lag=lag), auto_reader=True)
    machine.start_reader(0.0)
    before = text_until(machine, 0.45)
    machine.receive(DC3, 0.45)
    before += text_until(machine, 0.55)
    assert before == b"ABCDE"
    assert len(text_until(machine, 9.0)) == late


def test_in_full_duplex_an_x_off_on_the_tape_stops_nothing_by_itself():
    machine = make_sim(Equipment(tape=b"A\x13BCD"), auto_reader=True)
    machine.start_reader(0.0)
    assert text_until(machine, 9.0) == b"A\x13BCD"


def test_enq_stops_the_reader_until_dc1():
    machine = make_sim(Equipment(tape=b"A" * 60, answerback_rows=encode_drum("H")), auto_reader=True, answerback=True)
    machine.receive(DC1, 0.0)
    machine.advance(1.0)
    machine.receive(ENQ, 1.0)
    assert text_to_host(machine.advance(9.0)) == b"AAH"  # the row under way; the row that began with ENQ was complete
    machine.receive(DC1, 9.0)
    assert text_until(machine, 99.0).startswith(b"AAAA")


def test_a_reader_switched_off_stays_stopped():
    machine = make_sim(Equipment(tape=b"A" * 9))
    machine.start_reader(0.0)
    machine.set_line_switch("off")
    machine.advance(1.0)
    machine.set_line_switch("line")
    machine.press_key(0x42, 1.0)
    assert text_to_host(machine.advance(9.0)) == b"B"


# The punch.


def test_the_punch_punches_from_dc2_to_dc4_inclusive():
    machine = make_sim(auto_punch=True)
    for n, byte in enumerate(b"A\x12\x00\xff\x8d\x41\x14B"):
        machine.receive(byte, n * 0.1)
        machine.advance(n * 0.1 + 0.1)
    assert bytes(machine.punch.tape) == b"\x00\xff\x8d\x41\x14"
    assert machine.typing_unit.forbidden == []


def test_without_the_option_only_the_buttons_switch_the_punch():
    machine = make_sim()
    send_text(machine, b"\x12A")
    machine.punch.is_on = True
    send_text(machine, b"BC", at=1.0)
    assert bytes(byte & 0x7F for byte in machine.punch.tape) == b"BC"


def test_in_full_duplex_a_typed_key_is_not_punched_and_in_local_it_is():
    machine = make_sim()
    machine.punch.is_on = True
    machine.press_key(0x41, 0.0)
    machine.advance(1.0)
    machine.set_line_switch("local")
    machine.press_key(0x42, 1.0)
    machine.advance(2.0)
    assert bytes(machine.punch.tape) == b"\x42"


# The line and the motor.


def test_an_open_loop_is_one_break_to_the_host_and_chatter_at_the_machine():
    machine = make_sim()
    machine.punch.is_on = True
    machine.open_loop(0.0, 2.0)
    events = send_text(machine, b"LOST")
    events += machine.advance(2.0)
    events += send_text(machine, b"HEARD", at=2.0)
    assert host_input(events) == [Break()]
    assert machine.typing_unit.open_line_cycles == 20
    assert bytes(machine.punch.tape[:20]) == bytes(20)
    assert machine.typing_unit.paper.text() == "HEARD"
    assert machine.lost_characters == 4


def test_while_the_motor_comes_up_bytes_are_lost_and_garbled():
    machine = make_sim(spin_up_ms=2000)
    machine.switch_motor(False, 0.0)
    send_text(machine, b"OFF")
    machine.switch_motor(True, 1.0)
    send_text(machine, b"ABCDEFGHIJKLMNOPQRST", at=1.0)
    spoilt = machine.typing_unit.strike_count
    assert 0 < spoilt < 20
    assert not {strike.byte for strike in machine.typing_unit.strikes} >= set(b"ABCDEFGHIJ")
    send_text(machine, b"\r\nSTEADY", at=3.0)
    assert [chr(strike.byte) for strike in machine.typing_unit.strikes][-6:] == list("STEADY")


# Laws.


@given(st.binary(max_size=60), st.booleans())
def test_what_the_host_sends_is_struck_whole_and_echoed_in_half_duplex_alone(sent, half):
    machine = make_sim(Equipment(profile=FULL_OF_OPTIONS), duplex="half" if half else "full", answerback=False)
    events: list[SimEvent] = []
    for n, byte in enumerate(sent):
        machine.receive(byte, n * 0.1)
        events += machine.advance(n * 0.1 + 0.1)
    assert machine.typing_unit.strike_count == len(sent)
    echo = [event.value for event in host_input(events) if isinstance(event, Byte)]
    assert bytes(echo) == (sent if half else b"")


ACTIONS = st.one_of(
    st.tuples(st.just("hear"), st.integers(0, 255)),
    st.tuples(st.just("press"), st.integers(0, 255)),
    st.tuples(
        st.sampled_from(["break", "here is", "reader", "open", "local", "line", "motor on", "motor off"]), st.just(0)
    ),
)


@given(st.lists(st.tuples(ACTIONS, st.floats(0.0, 0.3)), max_size=60), st.booleans())
def test_the_simulation_is_deterministic_and_every_strike_has_its_byte(actions, half):
    machines = [
        make_sim(Equipment(profile=FULL_OF_OPTIONS, tape=b"TAPE" * 9), duplex="half" if half else "full") for _ in "12"
    ]
    event_lists = [perform_actions(machine, actions) for machine in machines]
    assert event_lists[0] == event_lists[1]
    strikes = [event for event in event_lists[0] if isinstance(event, Strike)]
    unit = machines[0].typing_unit
    assert unit.strike_count == len(strikes)
    assert not machines[0].is_receiving
    remote = sum(not strike.local for strike in strikes)
    assert remote + machines[0].lost_characters <= sum(action == "hear" for (action, _), _ in actions)


def perform_actions(machine: TeletypeSim, actions: list[tuple[tuple[str, int], float]]) -> list[SimEvent]:
    events: list[SimEvent] = []
    now = uart_free_at = 0.0
    for (action, byte), pause_s in actions:
        now += pause_s
        events += machine.advance(now)
        if action == "hear" and now >= uart_free_at:  # a UART sends the next byte when the last is out
            machine.receive(byte, now)
            uart_free_at = now + 0.1
        elif action == "press" and now >= machine.keys_free_at:
            machine.press_key(byte, now)
        elif action == "break":
            machine.hold_break(now)
        elif action == "here is":
            machine.here_is(now)
        elif action == "reader":
            machine.start_reader(now)
        elif action == "open":
            machine.open_loop(now, 0.5)
        elif action.startswith("motor"):
            machine.switch_motor(action == "motor on", now)
        elif action in ("local", "line"):
            machine.set_line_switch("local" if action == "local" else "line")
    return events + machine.advance(now + 60.0)
