from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from model.server.engine.fair_share import key_to_preempt, keys_with_fewest_rows

KEYS = st.sampled_from(["", "north", "south", "east"])
WANTED = st.dictionaries(KEYS, st.integers(1, 40), min_size=1)


def distribute_rows(wanted: dict[str, int], rows: int, first: list[str]) -> tuple[Counter[str], int]:
    """How many rows each has at the end, and how many had to be given up; `first` are those who came before all."""
    held, given_up = Counter(first), 0
    while waiting := [who for who, count in wanted.items() if held[who] < count]:
        if held.total() >= rows:
            if (who := key_to_preempt(held, waiting)) is None:
                break
            held[who] -= 1
            given_up += 1
        held[min(keys_with_fewest_rows(waiting, held))] += 1
    return held, given_up


def test_two_greedy_keys_give_a_third_its_third() -> None:
    held, given_up = distribute_rows({"north": 99, "south": 99, "east": 99}, 64, ["north"] * 32 + ["south"] * 32)
    assert sorted(held.values()) == [21, 21, 22]
    assert given_up == 21


def test_one_machine_among_many_has_its_row_and_the_others_keep_theirs() -> None:
    held, given_up = distribute_rows({"north": 99, "east": 1}, 64, ["north"] * 64)
    assert (held["north"], held["east"], given_up) == (63, 1, 1)


def test_where_nobody_waits_or_all_have_one_key_nothing_is_given_up() -> None:
    assert key_to_preempt({"north": 64}, []) is None
    assert key_to_preempt({"north": 64}, ["north"]) is None
    assert key_to_preempt({"north": 2, "south": 1}, ["south"]) is None
    assert key_to_preempt({}, ["south"]) is None


@given(WANTED, st.integers(1, 64), st.data())
def test_at_the_end_nobody_waits_while_another_has_two_more(
    wanted: dict[str, int], rows: int, data: st.DataObject
) -> None:
    everybody = [who for who, count in wanted.items() for _ in range(count)]
    held, given_up = distribute_rows(wanted, rows, data.draw(st.permutations(everybody))[:rows])
    assert held.total() == min(rows, sum(wanted.values()))
    assert given_up <= rows  # it ends, and no row goes to and fro
    for who, count in wanted.items():
        assert held[who] <= count
        if held[who] < count:
            assert max(held.values()) <= held[who] + 1
