from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from model.server.engine.scheduler import key_to_preempt, keys_with_fewest_rows

KEYS = st.sampled_from(["", "north", "south", "east"])
WANTED = st.dictionaries(KEYS, st.integers(1, 40), min_size=1)


def distribute_rows(wanted: dict[str, int], rows: int, first: list[str]) -> tuple[Counter[str], int]:
    """The rows of each key at the end, and the number of preemptions. `first` are the keys of the first rows."""
    held, preempted = Counter(first), 0
    while waiting := [key for key, count in wanted.items() if held[key] < count]:
        if held.total() >= rows:
            if (key := key_to_preempt(held, waiting)) is None:
                break
            held[key] -= 1
            preempted += 1
        held[min(keys_with_fewest_rows(waiting, held))] += 1
    return held, preempted


def test_two_greedy_keys_leave_a_third_of_the_rows_to_another() -> None:
    held, preempted = distribute_rows({"north": 99, "south": 99, "east": 99}, 64, ["north"] * 32 + ["south"] * 32)
    assert sorted(held.values()) == [21, 21, 22]
    assert preempted == 21


def test_a_key_with_one_answer_takes_one_row_of_a_greedy_key() -> None:
    held, preempted = distribute_rows({"north": 99, "east": 1}, 64, ["north"] * 64)
    assert (held["north"], held["east"], preempted) == (63, 1, 1)


def test_no_row_is_preempted_without_competition() -> None:
    assert key_to_preempt({"north": 64}, []) is None
    assert key_to_preempt({"north": 64}, ["north"]) is None
    assert key_to_preempt({"north": 2, "south": 1}, ["south"]) is None
    assert key_to_preempt({}, ["south"]) is None


@given(WANTED, st.integers(1, 64), st.data())
def test_no_key_waits_while_another_has_two_rows_more(wanted: dict[str, int], rows: int, data: st.DataObject) -> None:
    all_keys = [key for key, count in wanted.items() for _ in range(count)]
    held, preempted = distribute_rows(wanted, rows, data.draw(st.permutations(all_keys))[:rows])
    assert held.total() == min(rows, sum(wanted.values()))
    assert preempted <= rows  # so it ends
    for key, count in wanted.items():
        assert held[key] <= count
        if held[key] < count:
            assert max(held.values()) <= held[key] + 1
