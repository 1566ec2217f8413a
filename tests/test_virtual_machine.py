from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.paper.paper import glyph_of
from drivers.profile import Profile
from drivers.text.charset import even_parity
from drivers.virtual import FAST, GUMMY, MECHANISMS, TYPICAL, TypingUnit

ANY = st.binary(max_size=200)


def typed(data: Iterable[int], interval_s: float = 0.1, machine: TypingUnit | None = None) -> TypingUnit:
    machine = machine or TypingUnit()
    for n, byte in enumerate(data):
        machine.receive(byte, n * interval_s)
    return machine


def test_a_line_and_its_return_are_clean_with_the_time_they_need():
    machine = typed(b"HELLO\r\nWORLD")
    assert machine.paper.text() == "HELLO\nWORLD"
    assert machine.faults == []


def test_a_glyph_in_flight_is_smeared_and_costs_its_column():
    machine = typed(b"A" * 72 + b"\rBCD")
    smeared = [(chr(strike.byte), strike.column) for strike in machine.smeared]
    # 207 ms from column 72: B is struck 100 ms into the flight, C at 200 ms, and D is the first at home.
    assert smeared == [("B", 37), ("C", 3)]
    assert machine.column == 1
    assert machine.paper.lines[0][0] == "AD"
    assert machine.paper.lines[0][37] == "AB"


def test_a_blank_in_flight_does_not_space_either():
    machine = typed(b"A" * 72 + b"\r\n B")
    assert [strike.byte for strike in machine.smeared] == [0x20]
    assert machine.column == 1


def test_a_second_return_in_flight_changes_nothing():
    machine = typed(b"A" * 72 + b"\r\r\rB")
    assert not machine.smeared
    assert machine.paper.lines[0][0] == "AB"


def test_past_the_last_column_strikes_pile_up():
    machine = typed(b"A" * 74)
    assert [strike.column for strike in machine.piled_up] == [71, 71]
    assert machine.column == machine.paper.column == 72
    assert machine.paper.lines[0][71] == "AAA"


def test_a_byte_that_comes_too_soon_is_overspeed():
    assert len(typed(b"ABC", interval_s=0.0909).overspeed) == 2  # one stop bit


def test_only_harmless_controls_are_allowed():
    machine = typed(bytes((0x00, 0x07, 0x7F, 0x0D, 0x0A, 0x05, 0x11, 0x1B)))
    assert [strike.byte for strike in machine.forbidden] == [0x05, 0x11, 0x1B]
    assert machine.paper.bells == 1


def test_parity_and_bit_six_do_not_reach_the_wheel():
    assert typed(b"\xc1b\x7f").paper.text() == "AB"


def test_all_that_was_ever_struck_is_counted_though_not_kept():
    machine = typed(b"AB\r\n" * 10)
    machine.strikes.clear()
    assert typed(b"A", machine=machine).strike_count == 41


# Bodies.


@pytest.mark.parametrize("body", MECHANISMS.values(), ids=MECHANISMS)
def test_from_the_right_margin_a_return_a_feed_and_a_fill_are_clean_on_every_body(body):
    machine = typed(b"A" * 72 + b"\r\n\x7fB", machine=TypingUnit(mechanism=body))
    assert machine.faults == []
    assert machine.paper.text() == "A" * 72 + "\nB"


def test_a_gummy_carriage_is_in_flight_where_a_fast_one_is_home():
    smeared = {
        body.name: len(typed(b"A" * 72 + b"\r\nBCD", machine=TypingUnit(mechanism=body)).smeared)
        for body in MECHANISMS.values()
    }
    assert smeared == {"fast": 0, "typical": 1, "gummy": 1}
    assert [round(body.cr_travel_s(72), 3) for body in (FAST, TYPICAL, GUMMY)] == [0.14, 0.207, 0.29]


def test_what_is_struck_while_the_carriage_dances_is_marked_and_no_fault():
    machine = TypingUnit(mechanism=GUMMY)
    typed(b"A" * 72 + b"\r\n\x7fBC", machine=machine)
    assert [chr(strike.byte) for strike in machine.bounced] == ["B"]  # home for 10 ms
    assert machine.faults == []
    assert typed(b"A" * 72 + b"\r\n\x7fBC").bounced == []  # home for 93 ms


# Options.


def test_an_automatic_return_lets_nothing_pile_up_and_feeds():
    machine = typed(b"A" * 71 + b"BC", machine=TypingUnit(profile=Profile(auto_return=True)))
    assert machine.piled_up == []
    assert machine.paper.lines[0][71] == "B"
    assert [chr(strike.byte) for strike in machine.smeared] == ["C"]
    assert len(machine.paper.lines) == 2


def test_an_automatic_return_after_a_full_line_and_the_hosts_own_is_a_blank_line():
    machine = typed(b"A" * 72 + b"\r\n\x7fB", machine=TypingUnit(profile=Profile(auto_return=True)))
    assert machine.paper.text() == "A" * 72 + "\n\nB"


def test_kits_feed_with_the_return_and_return_with_the_feed():
    assert typed(b"A\r\nB", machine=TypingUnit(profile=Profile(return_feeds=True))).paper.text() == "A\n\nB"
    machine = typed(b"A" * 72 + b"\nB", machine=TypingUnit(profile=Profile(feed_returns=True)))
    assert [strike.smeared for strike in machine.strikes][-1]
    assert machine.column == 0


def test_levers_cut_for_level_8_pass_over_a_function_with_wrong_parity_and_not_a_glyph():
    machine = TypingUnit(coded_levers=True)
    typed(b"\x41\x0d\x0a\x07\xc2", machine=machine)
    assert [strike.byte for strike in machine.ignored] == [0x0D, 0x07]
    assert machine.paper.text() == "A\n B"
    assert machine.paper.bells == 0
    typed(map(even_parity, b"\r\x07"), machine=machine)
    assert machine.column == 0
    assert machine.paper.bells == 1


def test_bells_ring_by_themselves_once_a_line_at_their_columns():
    machine = typed(b"A" * 75 + b"\x07", machine=TypingUnit(bell_columns=(62, 71, 72)))
    assert [column for _, column in machine.bells_rung] == [62, 71, 72, 72]
    assert machine.paper.bells == 4


def test_controls_are_allowed_to_a_machine_that_has_the_option_and_no_other():
    work = bytes((0x05, 0x11, 0x12, 0x13, 0x14))
    assert [strike.byte for strike in typed(work).forbidden] == list(work)
    fitted = Profile(auto_reader=True, auto_punch=True, answerback=True)
    assert typed(work, machine=TypingUnit(profile=fitted)).forbidden == []
    assert len(typed(b"\x04\x1b", machine=TypingUnit(profile=fitted)).forbidden) == 2


def test_rows_for_the_punch_may_be_any():
    machine = TypingUnit()
    for n, byte in enumerate(b"\x00\x04\x1b\xff"):
        machine.receive(byte, n * 0.1, punching=True)
    assert machine.forbidden == []


def test_what_its_own_keys_do_to_a_machine_is_no_fault_of_the_driver():
    machine = TypingUnit()
    for n, byte in enumerate(b"A" * 74 + b"\rB\x05"):
        machine.receive(byte, n * 0.05, local=True)
    assert machine.faults == []
    assert sum(strike.piled_up or strike.smeared for strike in machine.strikes) == 3


def test_the_columns_are_the_profiles_unless_others_are_given():
    assert TypingUnit(profile=Profile(columns=74)).paper.columns == 74
    assert TypingUnit(72, profile=Profile(columns=74)).paper.columns == 72


# Laws.


@given(ANY, st.sampled_from(list(MECHANISMS.values())), st.booleans())
def test_each_byte_is_a_strike_and_each_glyph_is_on_the_paper(data, body, auto_return):
    machine = typed(data, machine=TypingUnit(mechanism=body, profile=Profile(auto_return=auto_return)))
    assert machine.strike_count == len(machine.strikes) == len(data)
    assert bytes(strike.byte for strike in machine.strikes) == bytes(byte & 0x7F for byte in data)
    ink = "".join(cell for line in machine.paper.lines for cell in line)
    assert sorted(ink) == sorted("".join(map(glyph_of, data)))


@given(ANY, st.lists(st.floats(0.05, 0.4), min_size=200, max_size=200), st.sampled_from(list(MECHANISMS.values())))
def test_two_machines_fed_the_same_are_the_same(data, gaps, body):
    machines = [TypingUnit(mechanism=body), TypingUnit(mechanism=body)]
    now = 0.0
    for byte, gap in zip(data, gaps, strict=False):
        now += gap
        assert len({machine.receive(byte, now) for machine in machines}) == 1
    assert machines[0].paper.lines == machines[1].paper.lines
    assert machines[0].faults == machines[1].faults


@given(ANY)
def test_the_carriage_is_always_on_the_paper_and_the_sheet_knows_where(data):
    machine = TypingUnit()
    for n, byte in enumerate(data):
        strike = machine.receive(byte, n * 0.1)
        assert 0 <= strike.column <= machine.paper.columns
        assert machine.column == machine.paper.column
