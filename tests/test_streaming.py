from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import json_stream, mojibake
from tools.corpus.archive import Member, iter_members
from tools.corpus.errors import MemberError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 7)


def member(data: bytes) -> Member:
    return Member("x.json", "x.json", len(data), lambda: io.BytesIO(data))


def elements(data: bytes) -> list[Any]:
    return list(json_stream.iter_array(io.BytesIO(data), member(data)))


def until_refused(found: Iterable[Any]) -> tuple[list[Any], str]:
    given: list[Any] = []
    try:
        given.extend(iter(found))
    except MemberError as error:
        return given, str(error)
    return given, ""


def one_by_one(data: bytes) -> tuple[list[Any], str]:
    given: list[Any] = []

    def collected() -> Iterator[Any]:
        for element in json_stream.iter_array(io.BytesIO(data), member(data)):
            given.append(element)
            yield element

    return given, until_refused(collected())[1]


@pytest.mark.usefixtures("tiny")
@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_an_array_comes_as_it_is_whatever_the_border_of_the_chunks(
    values: list[Any], indent: int | None, as_ascii: bool
) -> None:
    assert elements(json.dumps(values, indent=indent, ensure_ascii=as_ascii).encode("utf-8", "replace")) == json.loads(
        json.dumps(values, indent=indent, ensure_ascii=as_ascii).encode("utf-8", "replace")
    )


@pytest.mark.parametrize("chunk", range(1, 20))
def test_a_number_is_whole_wherever_the_chunk_ends(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    assert elements(b"[0.0, -1.5e+10 ,12E-3,7]") == [0.0, -1.5e10, 12e-3, 7]


@pytest.mark.parametrize(
    "before",
    ["", "\ufeff", "window.YTD.tweets.part0 = ", "Grailbird.data.tweets_2014_01 =\n", "\n  var x=", "\ufeffa = "],
)
@pytest.mark.parametrize("after", ["", ";", ";\n", "\r\n"])
@pytest.mark.usefixtures("tiny")
def test_what_assigns_it_is_gone_over(before: str, after: str) -> None:
    assert elements((before + '[{"a": 1}, "=", [2]]' + after).encode()) == [{"a": 1}, "=", [2]]


@pytest.mark.usefixtures("tiny")
def test_an_object_comes_by_its_keys_and_its_arrays_by_their_elements() -> None:
    data = b'{"title": "x", "messages": [1, {"messages": [2]}], "other": [3], "messages": [], "z": {}}'
    assert list(json_stream.iter_object(io.BytesIO(data), member(data), ["messages"])) == [
        ("title", "x"),
        ("messages", 1),
        ("messages", {"messages": [2]}),
        ("other", [3]),
        ("z", {}),
    ]


def test_what_was_to_be_an_array_and_is_not_comes_whole() -> None:
    data = b'{"messages": "none"}'
    assert list(json_stream.iter_object(io.BytesIO(data), member(data), ["messages"])) == [("messages", "none")]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b'[1, {"a": 2}, {"b"', [1, {"a": 2}]),
        (b"[1, 2", [1, 2]),
        (b"[1, 2 3]", [1, 2]),
        (b"[1, tru]", [1]),
        (b"[1, ]", [1]),
        (b"[1][2]", [1]),
        (b"[1, " + b"9" * 6000 + b"]", [1]),
        (b"[1, " + b"[" * 3000 + b"]" * 3000 + b"]", [1]),
        (b"", []),
        (b'{"a": 1}', []),
        (b"hello", []),
    ],
)
def test_what_was_whole_before_the_damage_is_kept_and_the_damage_told(data: bytes, kept: list[Any]) -> None:
    given, fault = one_by_one(data)
    assert given == kept
    assert fault.startswith("x.json: ")


def test_the_damage_is_told_with_its_place() -> None:
    assert "at character 300005" in one_by_one(b"[1, " + b" " * 300_000 + b" oops]")[1]


@pytest.mark.usefixtures("tiny")
def test_bytes_that_are_not_utf8_are_marked_and_told_and_nothing_else_is_lost() -> None:
    given, fault = one_by_one('["caf\u00e9", "'.encode() + b"caf\xe9" + b'", "x"]')
    assert given == ["caf\u00e9", "caf\ufffd", "x"]
    assert "not all of it is UTF-8" in fault


def test_a_bomb_of_brackets_is_refused_in_little_memory() -> None:
    tracemalloc.start()
    assert one_by_one(b"[" * 2_000_000)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_an_element_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT_CHARS", 1 << 19)
    read = 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            nonlocal read
            count = len(buffer)
            buffer[:] = b"a" * count if read else b'["' + b"a" * (count - 2)
            read += count
            return count

    with pytest.raises(MemberError, match="too long"):
        list(json_stream.iter_array(io.BufferedReader(Endless()), member(b"")))
    assert read < 4 << 20


def test_memory_does_not_grow_with_the_file() -> None:
    data = b"[" + b",".join(b'{"text": "%06d"}' % number for number in range(30_000)) + b"]"
    file, it = io.BytesIO(data), member(data)
    tracemalloc.start()
    assert sum(1 for _ in json_stream.iter_array(file, it)) == 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5e6


def test_a_member_whose_checksum_is_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", '["aaaaaaaa", "b"]')
    path.write_bytes(path.read_bytes().replace(b"aaaaaaaa", b"aaaaaaab"))
    (found,) = iter_members(path)
    assert isinstance(found, Member)
    with found.open() as file, pytest.raises(MemberError, match=r"a\.zip: a\.json"):
        list(json_stream.iter_array(file, found))


@given(st.text())
def test_mojibake_is_undone(text: str) -> None:
    assert (
        mojibake.repair_latin1(text.encode("utf-8", "replace").decode("latin-1"))
        == text.encode("utf-8", "replace").decode()
    )


@pytest.mark.parametrize(
    "text", ["", "plain", "caf\u00e9", "\u201cquoted\u201d", "na\u00efve \u2764\ufe0f", "\u65e5\u672c", "\ud83d"]
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert mojibake.repair_latin1(text) == text
