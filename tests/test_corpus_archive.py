from __future__ import annotations

import contextlib
import io
import lzma
import os
import random
import resource
import shutil
import stat
import struct
import time
import zipfile
from pathlib import Path

import pytest
from corpus_items import make_folder, make_zip
from hypothesis import given
from hypothesis import strategies as st
from tool_errors import raises_tool_error

from tools.corpus import detect
from tools.corpus.archive import Member, MemberError, iter_members
from tools.corpus.record import DamagedItem

ENTRY = b"PK\x01\x02"  # the signature of an entry in the central directory
LOCAL = b"PK\x03\x04"  # of a member's header


def patch_header(path: Path, header: bytes, offset: int, data: bytes) -> Path:
    """Overwrites bytes at an offset of the first header with this signature."""
    raw = bytearray(path.read_bytes())
    at = raw.index(header) + offset
    raw[at : at + len(data)] = data
    path.write_bytes(raw)
    return path


def list_members(path: Path) -> tuple[list[Member], list[DamagedItem]]:
    items = list(iter_members(path))
    damaged = [item for item in items if isinstance(item, DamagedItem)]
    return [item for item in items if isinstance(item, Member)], damaged


def read_all(path: Path) -> dict[str, bytes]:
    return {member.name: member.open().read() for member in list_members(path)[0]}


def test_a_file_is_a_single_member(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"THE QUICK BROWN FOX")
    assert read_all(path) == {"a.txt": b"THE QUICK BROWN FOX"}
    assert [(member.location, member.size) for member in list_members(path)[0]] == [(str(path), 19)]
    assert list_members(path)[0][0].read_head(3) == b"THE"


def test_a_zip_is_read_like_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    files = {"b/2.txt": b"two", "a.txt": b"", "b/1.txt": b"one", "b/c/é👍.txt": b"three"}
    path = make_zip(tmp_path / "all.zip", files)
    assert list(read_all(path)) == sorted(files)
    assert read_all(path) == files == read_all(make_folder(tmp_path / "all", files))


@pytest.mark.parametrize(
    "name", ["../escape.txt", "a/../../escape.txt", "/etc/passwd", "..\\escape.txt", "C:\\escape.txt", "\\\\host\\x"]
)
def test_a_name_outside_the_archive_is_reported_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "sly.zip", {name: b"no", "good.txt": b"yes"})
    members, damaged = list_members(path)
    assert [member.name for member in members] == ["good.txt"]
    assert [item.reason for item in damaged] == ["its name points outside the archive"]


def test_a_colon_or_two_dots_inside_a_name_are_allowed(tmp_path: Path) -> None:
    files = {"12:30 talk.txt": b"a", "so...txt": b"b", "..hidden": b"c"}
    assert read_all(make_zip(tmp_path / "fine.zip", files)) == files


def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("link.txt")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, str(secret))
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "round").symlink_to(folder)
    (folder / "link.txt").symlink_to(secret)
    (folder / "nowhere").symlink_to(folder / "nowhere")
    assert [item.reason for item in list_members(path)[1]] == ["a link, which is not followed"]
    members, damaged = list_members(folder)
    assert members == []
    assert sorted(Path(item.source).name for item in damaged) == ["link.txt", "nowhere", "round"]


def test_a_named_link_is_followed_and_a_circular_one_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "named.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    assert read_all(tmp_path / "named.txt") == {"named.txt": b"a"}
    with raises_tool_error("missing", "name a readable file, folder or ZIP"):
        list_members(tmp_path / "round")


def test_sockets_and_devices_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("a")
    members, damaged = list_members(tmp_path)
    assert ([member.name for member in members], [item.reason for item in damaged]) == (["a.txt"], ["not a file"])
    with raises_tool_error("missing", "neither a file nor a folder"):
        list_members(tmp_path / "pipe")
    with raises_tool_error("missing", "No such file"):
        list_members(tmp_path / "absent")


def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    here = Path.cwd()
    try:  # deeper than PATH_MAX: even root cannot open it
        os.chdir(tmp_path)
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
    finally:
        os.chdir(here)
    (tmp_path / "z.txt").write_text("z")
    members, damaged = list_members(tmp_path)
    assert [member.name for member in members] == ["z.txt"]
    shutil.rmtree(tmp_path / ("d" * 250))
    assert [item.reason for item in damaged] == ["a folder that cannot be read: File name too long"]


def test_a_file_that_vanished_raises_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (member,) = list_members(tmp_path)[0]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(MemberError, match=r"a\.txt: No such file"):
        member.open()


def test_an_encrypted_member_is_reported(tmp_path: Path) -> None:
    path = patch_header(make_zip(tmp_path / "locked.zip", {"a.txt": b"a"}), ENTRY, 8, b"\x01")
    assert [item.reason for item in list_members(path)[1]] == ["encrypted; add a ZIP without a password"]


def test_a_zip_bomb_is_reported_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.txt", "w", force_zip64=True) as file:
            for _ in range(70):
                file.write(bytes(1 << 20))
        archive.writestr("noise.bin", random.Random(1).randbytes(1 << 20))  # the ratio of the whole archive is normal
        archive.writestr("good.txt", b"good")
    members, damaged = list_members(path)
    assert [member.name for member in members] == ["good.txt", "noise.bin"]
    assert "a ZIP bomb" in damaged[0].reason


def test_a_zip_bomb_of_many_small_members_is_reported_as_a_whole(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "bomb.zip", {f"{n}.txt": bytes(2 << 20) for n in range(40)})
    members, damaged = list_members(path)
    assert members == []
    assert [item.source for item in damaged] == [str(path)]
    assert "a ZIP bomb" in damaged[0].reason


def test_overlapping_members_are_a_zip_bomb(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "over.zip", {"a.txt": random.Random(1).randbytes(5000)})
    raw = path.read_bytes()
    at, end = raw.index(ENTRY), raw.index(b"PK\x05\x06")
    entry = raw[at:end]
    count = struct.pack("<HHL", 9, 9, 9 * len(entry))
    path.write_bytes(raw[:at] + 9 * entry + raw[end : end + 8] + count + raw[end + 16 :])
    members, damaged = list_members(path)
    assert members == []
    assert "a ZIP bomb" in damaged[0].reason


def test_a_member_of_ten_gigabytes_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.zip"
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.txt", b"b")
        archive.writestr("a.txt", b"a")
        archive.filelist[1].file_size = 10_000_000_000  # only the declared size
    members, damaged = list_members(huge)
    assert [member.name for member in members] == ["b.txt"]
    assert damaged[0].reason.startswith("10.0 GB, too large for a text")


def test_a_member_yields_no_more_than_its_declared_size(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "less.zip", {"a.txt": b"a" * 100_000})
    patch_header(path, ENTRY, 24, struct.pack("<L", 10))
    (member,) = list_members(path)[0]
    with pytest.raises(MemberError, match="Bad CRC"):
        member.open().read()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_a_member_with_a_wrong_byte_raises_an_error_and_the_next_is_read(tmp_path: Path, method: int) -> None:
    noise = random.Random(1).randbytes(3000)
    path = make_zip(tmp_path / "bad.zip", {"bad.txt": noise, "good.txt": b"good"}, method)
    patch_header(path, LOCAL, 200, b"\xff\x00\xff\x00\xff\x00")
    damaged, intact = list_members(path)[0]
    with pytest.raises(MemberError, match=r"bad\.zip: bad\.txt: "):
        damaged.open().read()
    assert intact.open().read() == b"good"


def test_an_unknown_compression_raises_an_error_with_the_name(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "new.zip", {"a.txt": b"a"})
    patch_header(patch_header(path, ENTRY, 10, b"\x63"), LOCAL, 8, b"\x63")
    (member,) = list_members(path)[0]
    with pytest.raises(MemberError, match=r"new\.zip: a\.txt: .*compression"):
        member.open()


def test_a_truncated_zip_is_reported_in_one_line(tmp_path: Path) -> None:
    raw = make_zip(tmp_path / "all.zip", {f"{n}.txt": random.Random(n).randbytes(50) for n in range(5)}).read_bytes()
    path = tmp_path / "cut.zip"
    for length in range(4, len(raw), 3):
        path.write_bytes(raw[:length])
        members, damaged = list_members(path)
        assert members == []
        assert [item.reason.split(" (")[0] for item in damaged] == ["not a complete ZIP"]


@given(data=st.data())
def test_a_zip_with_wrong_bytes_is_read_or_reported(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "wrong.zip"
    raw = bytearray(make_zip(path, {"a.txt": b"one text", "b/c.txt": b"another" * 9}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    for member in list_members(path)[0]:
        with contextlib.suppress(MemberError):
            member.open().read()


def test_a_zip_inside_a_zip_is_a_member_and_not_opened(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"a.txt": b"a"}).read_bytes()
    assert list(read_all(make_zip(tmp_path / "outer.zip", {"inner.zip": inner}))) == ["inner.zip"]


def test_a_text_that_ends_like_a_zip_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"about ZIPs: " + make_zip(tmp_path / "x.zip", {"a": b"a"}).read_bytes())
    assert list(read_all(path)) == ["a.txt"]


def test_names_are_decoded_in_both_code_pages_and_as_undeclared_utf8(tmp_path: Path) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("XX.txt", "YYYY.txt", "übung 👍.txt"):
            archive.writestr(name, b"")
    raw = path.read_bytes().replace(b"XX.txt", b"\x81\x82.txt").replace(b"YYYY.txt", "日k.txt".encode())
    path.write_bytes(raw)
    assert sorted(member.name for member in list_members(path)[0]) == sorted(["üé.txt", "日k.txt", "übung 👍.txt"])


def test_seventy_thousand_members_are_listed_quickly(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(70_000):
            archive.writestr(zipfile.ZipInfo(f"thread_{n % 300}/message_{n}.json"), b"{}")
    start = time.process_time()
    members, damaged = list_members(path)
    assert (len(members), damaged) == (70_000, [])
    assert members[-1].open().read() == b"{}"
    assert time.process_time() - start < 10


def test_a_member_is_seekable(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(200_000)
    (member,) = list_members(make_zip(tmp_path / "a.zip", {"a.pdf": data}))[0]
    with member.open() as file:
        assert file.seek(-100, os.SEEK_END) == len(data) - 100
        assert file.read() == data[-100:]
        file.seek(10)
        assert file.read(10) == data[10:20]


def test_errors_while_reading_name_the_member() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise lzma.LZMAError("Corrupt input data")

    member = Member("a", "all.zip: a", 5, Failing)
    with pytest.raises(MemberError, match=r"all\.zip: a: Corrupt input data"):
        member.read_head()


def test_a_folder_may_hold_more_zips_than_open_files_are_allowed(tmp_path: Path) -> None:
    for number in range(60):
        make_zip(tmp_path / f"{number}.zip", {"a.txt": b"a text", "b.txt": b"another"})
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, before[1]))
    try:
        result = detect.detect_kinds(tmp_path, "text")
        items = [item for group in result.groups for item in detect.read_items(group)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not result.damaged
    assert len(items) == 120


def test_backslashes_of_windows_programs_become_slashes(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"inbox": b"", "inbox/bob_1/message_1.json": b"{}"})
    path.write_bytes(path.read_bytes().replace(b"inbox/bob_1/message", b"inbox\\bob_1\\message"))
    assert [item.name for item in list_members(path)[0]] == ["inbox", "inbox/bob_1/message_1.json"]
