import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.input.echo_canceller import EchoCanceller
from drivers.text.charset import even_parity

PROSE = bytes(map(even_parity, b"\r\nIT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES"))
CHAR = 0.1


class HalfDuplexLine:
    """A half-duplex line: sent bytes and keys take turns, and all of them come back `lag_s` late."""

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

    def send_lost(self, byte: int) -> None:
        """Sends a byte that does not come back."""
        self._deliver()
        self.echo.note_sent(byte, self.now)
        self.now += CHAR

    def key(self, data: bytes) -> None:
        for byte in data:
            self.now += CHAR
            self._coming.append((self.now + self.lag_s, byte))

    def wait(self, seconds: float) -> None:
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
# Keys that the host never sends, so that their order can be checked.
ACTIONS = st.lists(
    st.tuples(st.just("send"), st.binary(min_size=1, max_size=12).map(lambda data: bytes(b & 0x3F | 1 for b in data)))
    | st.tuples(st.just("key"), st.binary(min_size=1, max_size=5).map(lambda data: bytes(b | 0xC0 for b in data)))
    | st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 5.0])),
    max_size=20,
)


def run_actions(loop: HalfDuplexLine, actions: list[tuple[str, bytes | float]]) -> bytes:
    """Performs these actions; returns the typed keys."""
    typed = b""
    for action, argument in actions:
        getattr(loop, action)(argument)
        typed += bytes(argument) if isinstance(argument, bytes) and action == "key" else b""
    loop.wait(5.0)
    return typed


@given(ACTIONS, LAGS)
def test_keys_between_echoes_are_found_and_echoes_are_dropped(actions, lag_s):
    loop = HalfDuplexLine(EchoCanceller("half"), lag_s)
    assert run_actions(loop, actions) == bytes(loop.keys)
    assert loop.echo.missing == 0


@given(ACTIONS, LAGS)
def test_in_full_duplex_every_byte_is_a_key(actions, lag_s):
    loop = HalfDuplexLine(EchoCanceller("full"), lag_s, echoes=False)
    assert run_actions(loop, actions) == bytes(loop.keys)


@given(st.lists(st.sampled_from(["send", "key", "wait"]), max_size=30), LAGS, st.randoms(use_true_random=False))
def test_no_key_is_invented_when_keys_equal_sent_bytes(actions, lag_s, rng):
    loop = HalfDuplexLine(EchoCanceller("half"), lag_s)
    typed = b""
    for action in actions:
        data = bytes(rng.choices(b"AB", k=3))
        if action == "wait":
            loop.wait(rng.choice([0.05, 2.0]))
        else:
            getattr(loop, action)(data)
            typed += data if action == "key" else b""
    loop.wait(5.0)
    assert len(loop.keys) + loop.verdicts.count("garbled") == len(typed)


@given(st.data(), LAGS)
def test_lost_echoes_do_not_affect_later_ones(data, lag_s):
    loop = HalfDuplexLine(EchoCanceller("half"), lag_s)
    loop.send(PROSE)
    lost = data.draw(st.binary(min_size=1, max_size=5))
    for byte in lost:
        loop.send_lost(byte)
        loop.send(PROSE[:3])
    loop.send(PROSE)
    loop.wait(3.0)
    loop.key(b"Z")
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.keys == b"Z"
    assert loop.echo.missing >= len(lost) - 1  # a lost byte may be taken for an equal one sent after it


@given(LAGS)
def test_a_key_after_a_lost_echo_is_found(lag_s):
    loop = HalfDuplexLine(EchoCanceller("half"), lag_s)
    loop.send(PROSE)
    loop.send_lost(0x41)
    loop.wait(0.2)
    loop.key(b"Z")
    loop.wait(3.0)
    loop.echo.expire(loop.now)
    assert loop.keys == b"Z"
    assert loop.echo.missing == 1


def test_a_key_equal_to_a_later_sent_byte_keeps_its_order():
    loop = HalfDuplexLine(EchoCanceller("half"), 0.45)
    loop.send(PROSE)
    loop.wait(3.0)
    loop.key(b"BZ")
    loop.send(b"AB")
    loop.wait(3.0)
    assert loop.keys == b"BZ"


@given(LAGS)
def test_a_doubled_echo_does_not_affect_later_ones(lag_s):
    loop = HalfDuplexLine(EchoCanceller("half"), lag_s)
    loop.send(PROSE)
    loop.send(b"A")
    loop.wait(1.0)
    loop.key(b"A")  # the second copy cannot be told from the first
    loop.send(PROSE)
    loop.key(b"Z")
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.keys == b"AZ"


def test_a_key_over_a_sent_byte_is_garbled_and_that_byte_is_known():
    loop = HalfDuplexLine(EchoCanceller("half"))
    loop.send(PROSE)
    loop.send(b"W", come_back=b"E")
    loop.wait(2.0)
    loop.echo.expire(loop.now)
    assert loop.verdicts[-1] == "garbled"
    assert loop.echo.expected == ord("W")
    assert (loop.keys, loop.echo.missing) == (b"", 0)


def test_a_break_over_a_sent_byte_is_detected_by_its_nul():
    loop = HalfDuplexLine(EchoCanceller("half"))
    loop.send(PROSE)
    loop.send(b"W", come_back=b"\x00")
    loop.wait(2.0)
    assert loop.verdicts[-1] == "break"
    assert loop.echo.classify(0x00, loop.now) == "key"  # no sent byte was under way: the keyboard decides


def test_a_sent_nul_is_an_echo():
    loop = HalfDuplexLine(EchoCanceller("half"))
    loop.send(b"AB\x00CD")
    loop.wait(2.0)
    assert loop.verdicts == ["echo"] * 5


def test_damaged_bytes_over_sent_bytes_are_garbled_or_a_break():
    echo = EchoCanceller("half")
    assert echo.classify_damaged(0x11, 0.0) == "key"
    echo.note_sent(0x41, 1.0)
    assert echo.classify_damaged(0x01, 1.1) == "garbled"
    echo.note_sent(0x42, 2.0)
    assert echo.classify_damaged(0x00, 2.1) == "break"
    echo.note_sent(0x43, 3.0)
    assert echo.classify_damaged(0x43, 3.1) == "echo"  # only its stop bits were spoilt
    full = EchoCanceller("full")
    full.note_sent(0x41, 1.0)
    assert full.classify_damaged(0x00, 1.1) == "key"


def test_an_adapter_may_strip_the_parity():
    loop = HalfDuplexLine(EchoCanceller("half"))
    loop.send(PROSE, come_back=bytes(byte & 0x7F for byte in PROSE))
    loop.wait(2.0)
    assert set(loop.verdicts) == {"echo"}


def test_without_pacing_keys_are_found_among_immediate_echoes():
    echo = EchoCanceller("half", character_s=0.0)
    for byte in PROSE:
        echo.note_sent(byte, 1.0)
    inputs = PROSE[:20] + b"\x5a" + PROSE[20:]
    assert [echo.classify(byte, 1.001) for byte in inputs] == ["echo"] * 20 + ["key"] + ["echo"] * (len(PROSE) - 20)


def test_echoes_that_never_come_are_counted_as_missing():
    loop = HalfDuplexLine(EchoCanceller("half"), echoes=False)
    loop.send(PROSE)
    loop.wait(3.0)
    loop.echo.expire(loop.now)
    assert loop.echo.missing == len(PROSE)
    assert loop.echo.duplex == "half"  # the profile says so


def test_the_expected_echoes_are_bounded():
    echo = EchoCanceller("half", character_s=0.0)
    for _ in range(100_000):
        echo.note_sent(0x41, 0.0)
    echo.expire(5.0)
    assert echo.missing == 4096


# Detecting the duplex.


@given(LAGS)
def test_half_duplex_is_found_by_the_first_cr_and_lf(lag_s):
    loop = HalfDuplexLine(EchoCanceller(), lag_s)
    loop.send(PROSE[:2])
    assert loop.echo.duplex is None
    loop.wait(1.0)
    assert loop.echo.duplex == "half"
    assert (loop.verdicts, loop.echo.take_misjudged_keys()) == (["echo", "echo"], b"")


def test_full_duplex_is_found_by_silence():
    loop = HalfDuplexLine(EchoCanceller(), echoes=False)
    loop.send(PROSE[:2])
    loop.echo.expire(1.15)
    assert loop.echo.duplex is None
    loop.echo.expire(1.25)
    assert loop.echo.duplex == "full"


def test_in_full_duplex_the_same_letter_that_was_just_sent_is_a_key():
    loop = HalfDuplexLine(EchoCanceller(), echoes=False)
    loop.send(PROSE)
    loop.wait(2.0)
    loop.key(b"H")
    loop.wait(0.1)
    loop.send(b"H")
    loop.key(b"HH")
    loop.wait(2.0)
    assert loop.keys == b"HHH"


def test_a_line_typed_at_once_is_not_lost_in_full_duplex():
    loop = HalfDuplexLine(EchoCanceller(), echoes=False)
    loop.send(PROSE[:2])
    loop.key(b"HELLO\r\n")
    loop.wait(0.0)
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.keys == b"HELLO\r\n"
    assert loop.echo.duplex == "full"


def test_a_return_taken_for_an_echo_is_reclaimed():
    echo = EchoCanceller()
    echo.note_sent(0x8D, 0.0)
    echo.note_sent(0x0A, 0.1)
    assert echo.classify(0x8D, 0.5) == "echo"
    assert echo.take_misjudged_keys() == b""
    echo.note_sent(0x41, 0.6)
    echo.expire(5.0)
    assert (echo.duplex, echo.take_misjudged_keys(), echo.take_misjudged_keys()) == ("full", b"\x8d", b"")


def test_a_key_among_the_first_echoes_delays_the_detection():
    loop = HalfDuplexLine(EchoCanceller(), 0.2)
    loop.key(b"Z")
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.echo.duplex == "half"
    assert loop.keys == b"Z" + PROSE[:2]  # these two cannot be told apart


def test_cr_and_lf_in_one_burst_are_no_echo():
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
    loop = HalfDuplexLine(EchoCanceller(), lag_s, echoes=False)
    loop.send(PROSE)
    loop.wait(3.0)
    loop.echo.expire(loop.now)
    assert loop.echo.duplex == "full"
    loop.echoes = True
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.echo.duplex == "half"
    assert len(loop.keys) <= 6


def test_a_machine_that_types_and_echoes_nothing_is_full_duplex_for_good():
    loop = HalfDuplexLine(EchoCanceller(), echoes=False)
    for _ in range(3):
        loop.send(PROSE)
        loop.wait(3.0)
        loop.key(b"HELLO")
    loop.keys.clear()
    loop.echoes = True  # an operator who copies the print, letter by letter and in time
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.echo.duplex == "full"
    assert loop.keys.endswith(PROSE)


def test_a_machine_switched_to_local_for_a_while_is_still_half_duplex():
    loop = HalfDuplexLine(EchoCanceller())
    loop.send(PROSE)
    loop.echoes = False
    loop.send(PROSE * 3)
    loop.echoes = True
    loop.wait(3.0)
    loop.send(PROSE)
    loop.wait(3.0)
    assert loop.echo.duplex == "half"
    assert (loop.keys, loop.echo.missing) == (b"", 3 * len(PROSE))


def test_a_wrong_half_duplex_is_corrected_without_echoes():
    echo = EchoCanceller()
    for index, byte in enumerate(b"\r\n"):  # typed, in time by chance
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


def test_without_pacing_a_repeated_line_is_typed():
    echo, now, verdicts = EchoCanceller("full", character_s=0.0), 0.0, []
    for byte in map(even_parity, b"ABCDEFGH, " * 40):
        now += 0.002
        verdicts.append(echo.classify(byte, now))
        echo.note_sent(byte, now)
    assert set(verdicts) == {"key"}
    assert not echo.is_half_duplex


def test_without_pacing_full_duplex_is_final():
    echo, now = EchoCanceller(character_s=0.0), 0.0
    for byte in PROSE:
        echo.note_sent(byte, now)
    echo.expire(now := 2.0)
    assert echo.duplex == "full"
    for byte in map(even_parity, b"ABCDEFGH, " * 40):
        now += 0.002
        assert echo.classify(byte, now) == "key"
        echo.note_sent(byte, now)
