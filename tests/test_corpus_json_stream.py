from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import json_stream
from tools.corpus.archive import Member, MemberError, iter_members
from tools.corpus.fields import repair_latin1

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 7)


def json_member(data: bytes) -> Member:
    return Member("x.json", "x.json", len(data), lambda: io.BytesIO(data))


def read_elements(data: bytes) -> list[Any]:
    return list(json_stream.iter_array(json_member(data)))


def read_until_error(data: bytes) -> tuple[list[Any], str]:
    """Returns the elements before an error, and the error's text."""
    elements: list[Any] = []
    try:
        for element in json_stream.iter_array(json_member(data)):
            elements.append(element)
    except MemberError as error:
        return elements, str(error)
    return elements, ""


@pytest.mark.usefixtures("tiny")
@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_an_array_is_read_across_all_chunk_borders(values: list[Any], indent: int | None, as_ascii: bool) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=as_ascii).encode("utf-8", "replace")
    assert read_elements(data) == json.loads(data)


@pytest.mark.parametrize("chunk", range(1, 20))
def test_a_number_is_complete_across_chunk_borders(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    assert read_elements(b"[0.0, -1.5e+10 ,12E-3,7]") == [0.0, -1.5e10, 12e-3, 7]


@pytest.mark.parametrize(
    "before",
    ["", "\ufeff", "window.YTD.tweets.part0 = ", "Grailbird.data.tweets_2014_01 =\n", "\n  var x=", "\ufeffa = "],
)
@pytest.mark.parametrize("after", ["", ";", ";\n", "\r\n"])
@pytest.mark.usefixtures("tiny")
def test_an_assignment_is_skipped(before: str, after: str) -> None:
    assert read_elements((before + '[{"a": 1}, "=", [2]]' + after).encode()) == [{"a": 1}, "=", [2]]


@pytest.mark.usefixtures("tiny")
def test_an_object_is_read_by_keys_and_its_arrays_by_elements() -> None:
    data = b'{"title": "x", "messages": [1, {"messages": [2]}], "other": [3], "messages": [], "z": {}}'
    assert list(json_stream.iter_object(json_member(data), ["messages"])) == [
        ("title", "x"),
        ("messages", 1),
        ("messages", {"messages": [2]}),
        ("other", [3]),
        ("z", {}),
    ]


def test_a_value_that_is_no_array_is_read_as_a_whole() -> None:
    data = b'{"messages": "none"}'
    assert list(json_stream.iter_object(json_member(data), ["messages"])) == [("messages", "none")]


@pytest.mark.parametrize(
    ("data", "expected"),
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
def test_elements_before_damage_are_kept_and_the_damage_reported(data: bytes, expected: list[Any]) -> None:
    elements, fault = read_until_error(data)
    assert elements == expected
    assert fault.startswith("x.json: ")


def test_damage_is_reported_with_its_position() -> None:
    assert "at character 300005" in read_until_error(b"[1, " + b" " * 300_000 + b" oops]")[1]


@pytest.mark.usefixtures("tiny")
def test_bytes_that_are_not_utf8_are_replaced_and_reported() -> None:
    elements, fault = read_until_error('["caf\u00e9", "'.encode() + b"caf\xe9" + b'", "x"]')
    assert elements == ["caf\u00e9", "caf\ufffd", "x"]
    assert "partly not UTF-8" in fault


def test_a_bomb_of_brackets_is_refused_in_little_memory() -> None:
    tracemalloc.start()
    assert read_until_error(b"[" * 2_000_000)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_an_endless_element_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT_CHARS", 1 << 19)
    read = 0

    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal read
            count = size or 0
            data = b"a" * count if read else b'["' + b"a" * (count - 2)
            read += count
            return data

    with pytest.raises(MemberError, match="too long"):
        list(json_stream.iter_array(Member("x.json", "x.json", 0, Endless)))
    assert read < 4 << 20


def test_memory_does_not_grow_with_the_file() -> None:
    data = b"[" + b",".join(b'{"text": "%06d"}' % number for number in range(30_000)) + b"]"
    member = json_member(data)
    tracemalloc.start()
    assert sum(1 for _ in json_stream.iter_array(member)) == 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5e6


def test_a_wrong_checksum_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", '["aaaaaaaa", "b"]')
    path.write_bytes(path.read_bytes().replace(b"aaaaaaaa", b"aaaaaaab"))
    (member,) = iter_members(path)
    assert isinstance(member, Member)
    with pytest.raises(MemberError, match=r"a\.zip: a\.json"):
        list(json_stream.iter_array(member))


@given(st.text())
def test_mojibake_is_repaired(text: str) -> None:
    assert repair_latin1(text.encode("utf-8", "replace").decode("latin-1")) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    "text", ["", "plain", "caf\u00e9", "\u201cquoted\u201d", "na\u00efve \u2764\ufe0f", "\u65e5\u672c", "\ud83d"]
)
def test_correct_text_is_unchanged(text: str) -> None:
    assert repair_latin1(text) == text


@pytest.mark.usefixtures("tiny")
def test_a_tree_is_read_part_by_part() -> None:
    tree = {"a": {"list": [{"name": "x", "messages": [1, {"b": [2]}]}, 3]}, "c": [4]}
    containers = {("a",), ("a", "list"), ("a", "list", 0), ("a", "list", 0, "messages"), ()}
    member = json_member(json.dumps(tree).encode())
    assert list(json_stream.iter_paths(member, lambda path: path in containers)) == [
        (("a", "list", 0, "name"), "x"),
        (("a", "list", 0, "messages", 0), 1),
        (("a", "list", 0, "messages", 1), {"b": [2]}),
        (("a", "list", 1), 3),
        (("c",), [4]),
    ]
