from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.paper.paper import glyph_of
from drivers.profile import Profile
from drivers.text.charset import even_parity
from drivers.virtual import FAST, GUMMY, MECHANISMS, TYPICAL, TypingUnit

ANY = st.binary(max_size=200)


def print_bytes(data: Iterable[int], interval_s: float = 0.1, machine: TypingUnit | None = None) -> TypingUnit:
    machine = machine or TypingUnit()
    for n, byte in enumerate(data):
        machine.receive(byte, n * interval_s)
    return machine


def test_a_line_and_its_return_are_clean_with_the_time_they_need():
    machine = print_bytes(b"HELLO\r\nWORLD")
    assert machine.paper.text() == "HELLO\nWORLD"
    assert machine.driver_errors == []


def test_a_glyph_during_a_return_is_smeared_and_does_not_space():
    machine = print_bytes(b"A" * 72 + b"\rBCD")
    smeared = [(chr(strike.byte), strike.column) for strike in machine.smeared]
    # 207 ms from column 72: B is struck 100 ms after the CR, C at 200 ms, and D is the first at home.
    assert smeared == [("B", 37), ("C", 3)]
    assert machine.column == 1
    assert machine.paper.lines[0][0] == "AD"
    assert machine.paper.lines[0][37] == "AB"


def test_a_blank_during_a_return_does_not_space():
    machine = print_bytes(b"A" * 72 + b"\r\n B")
    assert [strike.byte for strike in machine.smeared] == [0x20]
    assert machine.column == 1


def test_a_second_return_changes_nothing():
    machine = print_bytes(b"A" * 72 + b"\r\r\rB")
    assert not machine.smeared
    assert machine.paper.lines[0][0] == "AB"


def test_past_the_last_column_strikes_pile_up():
    machine = print_bytes(b"A" * 74)
    assert [strike.column for strike in machine.piled_up] == [71, 71]
    assert machine.column == machine.paper.column == 72
    assert machine.paper.lines[0][71] == "AAA"


def test_a_byte_that_comes_too_soon_is_overspeed():
    assert len(print_bytes(b"ABC", interval_s=0.0909).overspeed) == 2  # one stop bit


def test_only_harmless_controls_are_allowed():
    machine = print_bytes(bytes((0x00, 0x07, 0x7F, 0x0D, 0x0A, 0x05, 0x11, 0x1B)))
    assert [strike.byte for strike in machine.forbidden] == [0x05, 0x11, 0x1B]
    assert machine.paper.bells == 1


def test_parity_and_bit_six_do_not_reach_the_wheel():
    assert print_bytes(b"\xc1b\x7f").paper.text() == "AB"


def test_all_strikes_are_counted_although_not_kept():
    machine = print_bytes(b"AB\r\n" * 10)
    machine.strikes.clear()
    assert print_bytes(b"A", machine=machine).strike_count == 41


# Bodies.


@pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)
def test_a_return_a_feed_and_a_fill_are_clean_on_every_mechanism(mechanism):
    machine = print_bytes(b"A" * 72 + b"\r\n\x7fB", machine=TypingUnit(mechanism=mechanism))
    assert machine.driver_errors == []
    assert machine.paper.text() == "A" * 72 + "\nB"


def test_a_gummy_carriage_is_slower_than_a_fast_one():
    smeared = {
        mechanism.name: len(print_bytes(b"A" * 72 + b"\r\nBCD", machine=TypingUnit(mechanism=mechanism)).smeared)
        for mechanism in MECHANISMS.values()
    }
    assert smeared == {"fast": 0, "typical": 1, "gummy": 1}
    assert [round(mechanism.cr_travel_s(72), 3) for mechanism in (FAST, TYPICAL, GUMMY)] == [0.14, 0.207, 0.29]


def test_a_strike_while_the_carriage_bounces_is_no_fault():
    machine = TypingUnit(mechanism=GUMMY)
    print_bytes(b"A" * 72 + b"\r\n\x7fBC", machine=machine)
    assert [chr(strike.byte) for strike in machine.bounced] == ["B"]  # home for 10 ms
    assert machine.driver_errors == []
    assert print_bytes(b"A" * 72 + b"\r\n\x7fBC").bounced == []  # home for 93 ms


# Options.


def test_an_automatic_return_lets_nothing_pile_up_and_feeds():
    machine = print_bytes(b"A" * 71 + b"BC", machine=TypingUnit(profile=Profile(auto_return=True)))
    assert machine.piled_up == []
    assert machine.paper.lines[0][71] == "B"
    assert [chr(strike.byte) for strike in machine.smeared] == ["C"]
    assert len(machine.paper.lines) == 2


def test_an_automatic_return_after_a_full_line_and_the_hosts_own_is_a_blank_line():
    machine = print_bytes(b"A" * 72 + b"\r\n\x7fB", machine=TypingUnit(profile=Profile(auto_return=True)))
    assert machine.paper.text() == "A" * 72 + "\n\nB"


def test_kits_feed_with_the_return_and_return_with_the_feed():
    assert print_bytes(b"A\r\nB", machine=TypingUnit(profile=Profile(return_feeds=True))).paper.text() == "A\n\nB"
    machine = print_bytes(b"A" * 72 + b"\nB", machine=TypingUnit(profile=Profile(feed_returns=True)))
    assert [strike.smeared for strike in machine.strikes][-1]
    assert machine.column == 0


def test_coded_levers_ignore_functions_with_wrong_parity():
    machine = TypingUnit(coded_levers=True)
    print_bytes(b"\x41\x0d\x0a\x07\xc2", machine=machine)
    assert [strike.byte for strike in machine.ignored] == [0x0D, 0x07]
    assert machine.paper.text() == "A\n B"
    assert machine.paper.bells == 0
    print_bytes(map(even_parity, b"\r\x07"), machine=machine)
    assert machine.column == 0
    assert machine.paper.bells == 1


def test_bells_ring_by_themselves_once_a_line_at_their_columns():
    machine = print_bytes(b"A" * 75 + b"\x07", machine=TypingUnit(bell_columns=(62, 71, 72)))
    assert [column for _, column in machine.bells_rung] == [62, 71, 72, 72]
    assert machine.paper.bells == 4


def test_controls_are_allowed_to_a_machine_that_has_the_option_and_no_other():
    codes = bytes((0x05, 0x11, 0x12, 0x13, 0x14))
    assert [strike.byte for strike in print_bytes(codes).forbidden] == list(codes)
    fitted = Profile(auto_reader=True, auto_punch=True, answerback=True)
    assert print_bytes(codes, machine=TypingUnit(profile=fitted)).forbidden == []
    assert len(print_bytes(b"\x04\x1b", machine=TypingUnit(profile=fitted)).forbidden) == 2


def test_any_byte_is_allowed_while_punching():
    machine = TypingUnit()
    for n, byte in enumerate(b"\x00\x04\x1b\xff"):
        machine.receive(byte, n * 0.1, punching=True)
    assert machine.forbidden == []


def test_local_keys_are_no_fault_of_the_driver():
    machine = TypingUnit()
    for n, byte in enumerate(b"A" * 74 + b"\rB\x05"):
        machine.receive(byte, n * 0.05, local=True)
    assert machine.driver_errors == []
    assert sum(strike.piled_up or strike.smeared for strike in machine.strikes) == 3


def test_columns_override_the_profile():
    assert TypingUnit(profile=Profile(columns=74)).paper.columns == 74
    assert TypingUnit(72, profile=Profile(columns=74)).paper.columns == 72


# Laws.


@given(ANY, st.sampled_from(list(MECHANISMS.values())), st.booleans())
def test_every_byte_is_a_strike_and_every_glyph_is_on_the_paper(data, mechanism, auto_return):
    machine = print_bytes(data, machine=TypingUnit(mechanism=mechanism, profile=Profile(auto_return=auto_return)))
    assert machine.strike_count == len(machine.strikes) == len(data)
    assert bytes(strike.byte for strike in machine.strikes) == bytes(byte & 0x7F for byte in data)
    ink = "".join(cell for line in machine.paper.lines for cell in line)
    assert sorted(ink) == sorted("".join(map(glyph_of, data)))


@given(ANY, st.lists(st.floats(0.05, 0.4), min_size=200, max_size=200), st.sampled_from(list(MECHANISMS.values())))
def test_the_typing_unit_is_deterministic(data, gaps, mechanism):
    machines = [TypingUnit(mechanism=mechanism), TypingUnit(mechanism=mechanism)]
    now = 0.0
    for byte, gap in zip(data, gaps, strict=False):
        now += gap
        assert len({machine.receive(byte, now) for machine in machines}) == 1
    assert machines[0].paper.lines == machines[1].paper.lines
    assert machines[0].driver_errors == machines[1].driver_errors


@given(ANY)
def test_the_column_always_agrees_with_the_sheet(data):
    machine = TypingUnit()
    for n, byte in enumerate(data):
        strike = machine.receive(byte, n * 0.1)
        assert 0 <= strike.column <= machine.paper.columns
        assert machine.column == machine.paper.column
