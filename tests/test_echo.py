import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.input.echo_canceller import EchoCanceller
from drivers.text.charset import even_parity

PROSE = bytes(map(even_parity, b"\r\nIT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES"))
CHAR = 0.1


class Loop:
    """A half duplex wire: what we send and what is typed take turns on it, and all of it comes back, `lag_s` late."""

    def __init__(self, echo: EchoCanceller, lag_s: float = 0.0, *, echoes: bool = True) -> None:
        self.echo = echo
        self.lag_s = lag_s
        self.echoes = echoes
        self.now = 0.0
        self.keys = bytearray()
        self.verdicts: list[str] = []
        self._coming: list[tuple[float, int]] = []

    def send(self, data: bytes, *, come_back: bytes | None = None) -> None:
        for index, byte in enumerate(data):
            self._deliver()
            self.echo.note_sent(byte, self.now)
            self.now += CHAR
            if self.echoes:
                self._coming += [(self.now + self.lag_s, b) for b in (come_back or data)[index : index + 1]]

    def lose(self, byte: int) -> None:
        """Ours, and it does not come back."""
        self._deliver()
        self.echo.note_sent(byte, self.now)
        self.now += CHAR

    def key(self, data: bytes) -> None:
        for byte in data:
            self.now += CHAR
            self._coming.append((self.now + self.lag_s, byte))

    def rest(self, seconds: float) -> None:
        self.now += seconds
        self._deliver()

    def _deliver(self) -> None:
        while self._coming and self._coming[0][0] <= self.now + 1e-9:
            at, byte = self._coming.pop(0)
            verdict = self.echo.classify(byte, at)
            self.verdicts.append(verdict)
            if verdict == "key":
                self.keys.append(byte)


LAGS = st.sampled_from([0.0, 0.004, 0.03, 0.2, 0.45])
# Keys that are not among what is sent, so that the order in which they come out can be held to.
DEEDS = st.lists(
    st.tuples(st.just("send"), st.binary(min_size=1, max_size=12).map(lambda data: bytes(b & 0x3F | 1 for b in data)))
    | st.tuples(st.just("key"), st.binary(min_size=1, max_size=5).map(lambda data: bytes(b | 0xC0 for b in data)))
    | st.tuples(st.just("rest"), st.sampled_from([0.01, 0.3, 5.0])),
    max_size=20,
)


def done(loop: Loop, deeds: list[tuple[str, bytes | float]]) -> bytes:
    """Does all this; what was typed."""
    typed = b""
    for deed, what in deeds:
        getattr(loop, deed)(what)
        typed += bytes(what) if isinstance(what, bytes) and deed == "key" else b""
    loop.rest(5.0)
    return typed


@given(DEEDS, LAGS)
def test_keys_in_the_gaps_come_out_exactly_and_echoes_never(deeds, lag_s):
    loop = Loop(EchoCanceller("half"), lag_s)
    assert done(loop, deeds) == bytes(loop.keys)
    assert loop.echo.missing == 0


@given(DEEDS, LAGS)
def test_in_full_duplex_all_that_comes_is_typed(deeds, lag_s):
    loop = Loop(EchoCanceller("full"), lag_s, echoes=False)
    assert done(loop, deeds) == bytes(loop.keys)


@given(st.lists(st.sampled_from(["send", "key", "rest"]), max_size=30), LAGS, st.randoms(use_true_random=False))
def test_nothing_is_ever_typed_by_nobody_even_if_keys_are_as_what_is_sent(deeds, lag_s, rng):
    loop = Loop(EchoCanceller("half"), lag_s)
    typed = b""
    for deed in deeds:
        data = bytes(rng.choices(b"AB", k=3))
        if deed == "rest":
            loop.rest(rng.choice([0.05, 2.0]))
        else:
            getattr(loop, deed)(data)
            typed += data if deed == "key" else b""
    loop.rest(5.0)
    assert len(loop.keys) + loop.verdicts.count("garbled") == len(typed)


@given(st.data(), LAGS)
def test_after_echoes_that_were_lost_all_is_as_before(data, lag_s):
    loop = Loop(EchoCanceller("half"), lag_s)
    loop.send(PROSE)
    lost = data.draw(st.binary(min_size=1, max_size=5))
    for byte in lost:
        loop.lose(byte)
        loop.send(PROSE[:3])
    loop.send(PROSE)
    loop.rest(3.0)
    loop.key(b"Z")
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.keys == b"Z"
    assert loop.echo.missing >= len(lost) - 1  # a lost one may be taken for its equal sent after it


@given(LAGS)
def test_a_key_typed_after_a_lost_echo_comes_out(lag_s):
    loop = Loop(EchoCanceller("half"), lag_s)
    loop.send(PROSE)
    loop.lose(0x41)
    loop.rest(0.2)
    loop.key(b"Z")
    loop.rest(3.0)
    loop.echo.expire(loop.now)
    assert loop.keys == b"Z"
    assert loop.echo.missing == 1


def test_a_key_that_is_like_what_is_sent_after_it_keeps_its_place_among_the_keys():
    loop = Loop(EchoCanceller("half"), 0.45)
    loop.send(PROSE)
    loop.rest(3.0)
    loop.key(b"BZ")
    loop.send(b"AB")
    loop.rest(3.0)
    assert loop.keys == b"BZ"


@given(LAGS)
def test_an_echo_that_came_twice_disturbs_nothing_after_it(lag_s):
    loop = Loop(EchoCanceller("half"), lag_s)
    loop.send(PROSE)
    loop.send(b"A")
    loop.rest(1.0)
    loop.key(b"A")  # the second copy: nobody can know
    loop.send(PROSE)
    loop.key(b"Z")
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.keys == b"AZ"


def test_a_key_pressed_over_ours_is_garbled_and_the_sent_byte_is_known():
    loop = Loop(EchoCanceller("half"))
    loop.send(PROSE)
    loop.send(b"W", come_back=b"E")
    loop.rest(2.0)
    loop.echo.expire(loop.now)
    assert loop.verdicts[-1] == "garbled"
    assert loop.echo.expected == ord("W")
    assert (loop.keys, loop.echo.missing) == (b"", 0)


def test_a_break_held_over_ours_is_a_break_by_its_nul():
    loop = Loop(EchoCanceller("half"))
    loop.send(PROSE)
    loop.send(b"W", come_back=b"\x00")
    loop.rest(2.0)
    assert loop.verdicts[-1] == "break"
    assert loop.echo.classify(0x00, loop.now) == "key"  # nothing of ours was under way: the keyboard's affair


def test_a_nul_of_our_own_is_an_echo():
    loop = Loop(EchoCanceller("half"))
    loop.send(b"AB\x00CD")
    loop.rest(2.0)
    assert loop.verdicts == ["echo"] * 5


def test_damaged_bytes_over_ours_are_garbled_or_a_break_and_others_the_keyboard_s():
    echo = EchoCanceller("half")
    assert echo.classify_damaged(0x11, 0.0) == "key"
    echo.note_sent(0x41, 1.0)
    assert echo.classify_damaged(0x01, 1.1) == "garbled"
    echo.note_sent(0x42, 2.0)
    assert echo.classify_damaged(0x00, 2.1) == "break"
    echo.note_sent(0x43, 3.0)
    assert echo.classify_damaged(0x43, 3.1) == "echo"  # its stop bits alone were spoilt
    full = EchoCanceller("full")
    full.note_sent(0x41, 1.0)
    assert full.classify_damaged(0x00, 1.1) == "key"


def test_an_adapter_may_strip_the_parity():
    loop = Loop(EchoCanceller("half"))
    loop.send(PROSE, come_back=bytes(byte & 0x7F for byte in PROSE))
    loop.rest(2.0)
    assert set(loop.verdicts) == {"echo"}


def test_echoes_on_a_wire_without_pace_come_at_once_and_keys_among_them_are_keys():
    echo = EchoCanceller("half", character_s=0.0)
    for byte in PROSE:
        echo.note_sent(byte, 1.0)
    heard = PROSE[:20] + b"\x5a" + PROSE[20:]
    assert [echo.classify(byte, 1.001) for byte in heard] == ["echo"] * 20 + ["key"] + ["echo"] * (len(PROSE) - 20)


def test_echoes_that_never_come_are_counted_as_missing():
    loop = Loop(EchoCanceller("half"), echoes=False)
    loop.send(PROSE)
    loop.rest(3.0)
    loop.echo.expire(loop.now)
    assert loop.echo.missing == len(PROSE)
    assert loop.echo.duplex == "half"  # was said, so it stays


def test_what_is_awaited_is_bounded():
    echo = EchoCanceller("half", character_s=0.0)
    for _ in range(100_000):
        echo.note_sent(0x41, 0.0)
    echo.expire(5.0)
    assert echo.missing == 4096


# Which it is.


@given(LAGS)
def test_half_duplex_is_found_by_the_first_cr_and_lf(lag_s):
    loop = Loop(EchoCanceller(), lag_s)
    loop.send(PROSE[:2])
    assert loop.echo.duplex is None
    loop.rest(1.0)
    assert loop.echo.duplex == "half"
    assert (loop.verdicts, loop.echo.take_misjudged_keys()) == (["echo", "echo"], b"")


def test_full_duplex_is_found_by_silence():
    loop = Loop(EchoCanceller(), echoes=False)
    loop.send(PROSE[:2])
    loop.echo.expire(1.15)
    assert loop.echo.duplex is None
    loop.echo.expire(1.25)
    assert loop.echo.duplex == "full"


def test_in_full_duplex_the_same_letter_that_was_just_sent_is_a_key():
    loop = Loop(EchoCanceller(), echoes=False)
    loop.send(PROSE)
    loop.rest(2.0)
    loop.key(b"H")
    loop.rest(0.1)
    loop.send(b"H")
    loop.key(b"HH")
    loop.rest(2.0)
    assert loop.keys == b"HHH"


def test_a_line_typed_at_once_is_not_lost_in_full_duplex():
    loop = Loop(EchoCanceller(), echoes=False)
    loop.send(PROSE[:2])
    loop.key(b"HELLO\r\n")
    loop.rest(0.0)
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.keys == b"HELLO\r\n"
    assert loop.echo.duplex == "full"


def test_a_return_that_was_taken_for_an_echo_is_given_back_when_it_is_known():
    echo = EchoCanceller()
    echo.note_sent(0x8D, 0.0)
    echo.note_sent(0x0A, 0.1)
    assert echo.classify(0x8D, 0.5) == "echo"
    assert echo.take_misjudged_keys() == b""
    echo.note_sent(0x41, 0.6)
    echo.expire(5.0)
    assert (echo.duplex, echo.take_misjudged_keys(), echo.take_misjudged_keys()) == ("full", b"\x8d", b"")


def test_a_key_among_the_first_echoes_only_puts_off_the_finding():
    loop = Loop(EchoCanceller(), 0.2)
    loop.key(b"Z")
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.echo.duplex == "half"
    assert loop.keys == b"Z" + PROSE[:2]  # these two nobody can know


def test_cr_and_lf_that_come_in_one_burst_are_no_echo():
    echo = EchoCanceller()
    for index, byte in enumerate(b"\r\n"):
        echo.note_sent(byte, index * CHAR)
    assert [echo.classify(byte, 0.5) for byte in b"\r\n"] == ["echo", "echo"]
    assert echo.duplex is None
    for index, byte in enumerate(b"? "):
        echo.note_sent(byte, 0.6 + index * CHAR)
    echo.expire(5.0)
    assert (echo.duplex, echo.take_misjudged_keys()) == ("full", b"\r\n")


@pytest.mark.parametrize("lag_s", [0.0, 0.2])
def test_a_machine_that_was_off_at_the_start_is_found_to_be_half_duplex_later(lag_s):
    loop = Loop(EchoCanceller(), lag_s, echoes=False)
    loop.send(PROSE)
    loop.rest(3.0)
    loop.echo.expire(loop.now)
    assert loop.echo.duplex == "full"
    loop.echoes = True
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.echo.duplex == "half"
    assert len(loop.keys) <= 6


def test_a_machine_that_types_and_echoes_nothing_is_full_duplex_for_good():
    loop = Loop(EchoCanceller(), echoes=False)
    for _ in range(3):
        loop.send(PROSE)
        loop.rest(3.0)
        loop.key(b"HELLO")
    loop.keys.clear()
    loop.echoes = True  # an operator who copies what is printed, letter by letter and in time
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.echo.duplex == "full"
    assert loop.keys.endswith(PROSE)


def test_a_machine_switched_to_local_for_a_while_is_still_half_duplex():
    loop = Loop(EchoCanceller())
    loop.send(PROSE)
    loop.echoes = False
    loop.send(PROSE * 3)
    loop.echoes = True
    loop.rest(3.0)
    loop.send(PROSE)
    loop.rest(3.0)
    assert loop.echo.duplex == "half"
    assert (loop.keys, loop.echo.missing) == (b"", 3 * len(PROSE))


def test_a_mistake_for_half_duplex_is_mended_when_nothing_echoes():
    echo = EchoCanceller()
    for index, byte in enumerate(b"\r\n"):  # typed, by chance in time
        echo.note_sent(byte, index * CHAR)
    assert [echo.classify(byte, 0.1 + index * CHAR) for index, byte in enumerate(b"\r\n")] == ["echo", "echo"]
    assert echo.duplex == "half"
    for index, byte in enumerate(PROSE):
        echo.note_sent(byte, 1.0 + index * CHAR)
    echo.expire(20.0)
    assert echo.duplex == "full"


def test_a_key_that_repeats_in_step_with_its_echo_does_not_make_a_machine_half_duplex():
    echo, now = EchoCanceller("full"), 0.0
    for byte in b"ASR33 TIME-SHARING":
        echo.note_sent(byte, now)
        now += 0.1
    now += 2.0
    for _ in range(40):  # REPT, ten a second
        assert echo.classify(ord("A"), now) == "key"
        echo.note_sent(ord("A"), now)
        now += 0.1
    assert echo.duplex == "full"


def test_a_line_typed_again_and_again_on_a_wire_without_pace_is_typed():
    echo, now, verdicts = EchoCanceller("full", character_s=0.0), 0.0, []
    for byte in map(even_parity, b"ABCDEFGH, " * 40):
        now += 0.002
        verdicts.append(echo.classify(byte, now))
        echo.note_sent(byte, now)
    assert set(verdicts) == {"key"}
    assert not echo.is_half_duplex


def test_what_was_found_to_be_full_duplex_on_a_wire_without_pace_stays_so():
    echo, now = EchoCanceller(character_s=0.0), 0.0
    for byte in PROSE:
        echo.note_sent(byte, now)
    echo.expire(now := 2.0)
    assert echo.duplex == "full"
    for byte in map(even_parity, b"ABCDEFGH, " * 40):
        now += 0.002
        assert echo.classify(byte, now) == "key"
        echo.note_sent(byte, now)
