"""Whose turn it is for a row, where several keys want more of them than there are. Pure.

A key's share is counted only while somebody waits, and only against those who do: whoever waits comes before keys with
more rows than his own, and the key that has the most gives one up to him, as long as it has more than he will have
then. So nobody's rows are taken for nothing, none goes to and fro, and at the end all who want many have as many as
each other. Knows of rows and answers only how many of them a key has; who yields is seen to by `distributor`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

RowsByKey = Mapping[str, int]  # rows, by the key whose answers have them


def keys_with_fewest_rows(waiting: Collection[str], rows: RowsByKey) -> set[str]:
    """Of the keys that wait, those with the fewest rows: one of theirs is next."""
    least = min((rows.get(who, 0) for who in waiting), default=0)
    return {who for who in waiting if rows.get(who, 0) == least}


def key_to_preempt(rows: RowsByKey, waiting: Collection[str]) -> str | None:
    """The key that gives up a row to one who waits, where all rows are taken; None where it is fair as it is."""
    most = max(rows, key=rows.__getitem__, default=None)
    if most is None or not waiting:
        return None
    return most if rows[most] > min(rows.get(who, 0) for who in waiting) + 1 else None
