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
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import detect
from tools.corpus.archive import Member, iter_members
from tools.corpus.errors import CorpusNotFound, MemberError
from tools.corpus.record import DamagedItem

ENTRY = b"PK\x01\x02"  # the archive's list of its members has one of these for each
LOCAL = b"PK\x03\x04"


def zipped(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def patched(path: Path, header: bytes, offset: int, data: bytes) -> Path:
    """Bytes written over those of the first such header."""
    raw = bytearray(path.read_bytes())
    at = raw.index(header) + offset
    raw[at : at + len(data)] = data
    path.write_bytes(raw)
    return path


def parted(path: Path) -> tuple[list[Member], list[DamagedItem]]:
    found = list(iter_members(path))
    return [one for one in found if isinstance(one, Member)], [one for one in found if isinstance(one, DamagedItem)]


def whole(path: Path) -> dict[str, bytes]:
    return {member.name: member.open().read() for member in parted(path)[0]}


def test_a_file_is_its_one_member(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"THE QUICK BROWN FOX")
    assert whole(path) == {"a.txt": b"THE QUICK BROWN FOX"}
    assert [(member.location, member.size) for member in parted(path)[0]] == [(str(path), 19)]
    assert parted(path)[0][0].read_head(3) == b"THE"


def test_a_zip_is_read_as_a_folder_is_in_the_order_of_names(tmp_path: Path) -> None:
    files = {"b/2.txt": b"two", "a.txt": b"", "b/1.txt": b"one", "b/c/é👍.txt": b"three"}
    path = zipped(tmp_path / "all.zip", files)
    folder = tmp_path / "all"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert list(whole(path)) == sorted(files)
    assert whole(path) == files == whole(folder)


@pytest.mark.parametrize(
    "name", ["../escape.txt", "a/../../escape.txt", "/etc/passwd", "..\\escape.txt", "C:\\escape.txt", "\\\\host\\x"]
)
def test_a_name_that_leads_out_of_the_archive_is_told_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "sly.zip", {name: b"no", "good.txt": b"yes"})
    good, bad = parted(path)
    assert [member.name for member in good] == ["good.txt"]
    assert [damaged.reason for damaged in bad] == ["its name leads out of the archive"]


def test_a_colon_or_two_dots_within_a_name_lead_nowhere(tmp_path: Path) -> None:
    files = {"12:30 talk.txt": b"a", "so...txt": b"b", "..hidden": b"c"}
    assert whole(zipped(tmp_path / "fine.zip", files)) == files


def test_links_are_told_and_not_followed(tmp_path: Path) -> None:
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
    assert [why.reason for why in parted(path)[1]] == ["a link, which is not followed"]
    good, bad = parted(folder)
    assert good == []
    assert sorted(Path(told.source).name for told in bad) == ["link.txt", "nowhere", "round"]


def test_a_link_that_somebody_names_is_meant_and_one_in_a_circle_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "named.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    assert whole(tmp_path / "named.txt") == {"named.txt": b"a"}
    with pytest.raises(CorpusNotFound, match="name a file, a folder or a ZIP"):
        parted(tmp_path / "round")


def test_what_is_no_file_is_told_and_does_not_stop_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("a")
    good, bad = parted(tmp_path)
    assert ([member.name for member in good], [told.reason for told in bad]) == (["a.txt"], ["not a file"])
    with pytest.raises(CorpusNotFound, match="neither a file nor a folder"):
        parted(tmp_path / "pipe")
    with pytest.raises(CorpusNotFound, match="No such file"):
        parted(tmp_path / "absent")


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    here = Path.cwd()
    try:  # deeper than a path may be long: no right of root's opens that
        os.chdir(tmp_path)
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
    finally:
        os.chdir(here)
    (tmp_path / "z.txt").write_text("z")
    good, bad = parted(tmp_path)
    assert [member.name for member in good] == ["z.txt"]
    shutil.rmtree(tmp_path / ("d" * 250))
    assert [told.reason for told in bad] == ["a folder that cannot be read: File name too long"]


def test_a_file_that_is_gone_when_it_is_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (member,) = parted(tmp_path)[0]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(MemberError, match=r"a\.txt: No such file"):
        member.open()


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    path = patched(zipped(tmp_path / "locked.zip", {"a.txt": b"a"}), ENTRY, 8, b"\x01")
    assert [told.reason for told in parted(path)[1]] == ["encrypted; give a ZIP without a password"]


def test_a_bomb_is_told_and_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.txt", "w", force_zip64=True) as file:
            for _ in range(70):
                file.write(bytes(1 << 20))
        archive.writestr("noise.bin", random.Random(1).randbytes(1 << 20))  # the archive as a whole packs well enough
        archive.writestr("good.txt", b"good")
    good, bad = parted(path)
    assert [member.name for member in good] == ["good.txt", "noise.bin"]
    assert "no text, but a bomb" in bad[0].reason


def test_a_bomb_of_many_small_parts_is_told_as_a_whole(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bomb.zip", {f"{n}.txt": bytes(2 << 20) for n in range(40)})
    good, bad = parted(path)
    assert good == []
    assert [told.source for told in bad] == [str(path)]
    assert "no texts, but a bomb" in bad[0].reason


def test_members_that_lie_over_each_other_are_a_bomb(tmp_path: Path) -> None:
    path = zipped(tmp_path / "over.zip", {"a.txt": random.Random(1).randbytes(5000)})
    raw = path.read_bytes()
    at, end = raw.index(ENTRY), raw.index(b"PK\x05\x06")
    entry = raw[at:end]
    count = struct.pack("<HHL", 9, 9, 9 * len(entry))
    path.write_bytes(raw[:at] + 9 * entry + raw[end : end + 8] + count + raw[end + 16 :])
    good, bad = parted(path)
    assert good == []
    assert "a bomb" in bad[0].reason


def test_a_member_of_ten_gigabytes_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.zip"
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.txt", b"b")
        archive.writestr("a.txt", b"a")
        archive.filelist[1].file_size = 10_000_000_000  # what it declares, no more
    good, bad = parted(huge)
    assert [member.name for member in good] == ["b.txt"]
    assert bad[0].reason.startswith("10.0 GB, more than any text")


def test_a_member_that_declares_less_than_it_holds_gives_no_more(tmp_path: Path) -> None:
    path = zipped(tmp_path / "less.zip", {"a.txt": b"a" * 100_000})
    patched(path, ENTRY, 24, struct.pack("<L", 10))
    (member,) = parted(path)[0]
    with pytest.raises(MemberError, match="Bad CRC"):
        member.open().read()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_a_member_with_a_wrong_byte_is_refused_by_name_and_its_neighbour_read(tmp_path: Path, method: int) -> None:
    noise = random.Random(1).randbytes(3000)
    path = zipped(tmp_path / "bad.zip", {"bad.txt": noise, "good.txt": b"good"}, method)
    patched(path, LOCAL, 200, b"\xff\x00\xff\x00\xff\x00")
    bad, good = parted(path)[0]
    with pytest.raises(MemberError, match=r"bad\.zip: bad\.txt: "):
        bad.open().read()
    assert good.open().read() == b"good"


def test_a_member_packed_in_an_unknown_way_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "new.zip", {"a.txt": b"a"})
    patched(patched(path, ENTRY, 10, b"\x63"), LOCAL, 8, b"\x63")
    (member,) = parted(path)[0]
    with pytest.raises(MemberError, match=r"new\.zip: a\.txt: .*compression"):
        member.open()


def test_a_zip_that_was_cut_off_anywhere_is_told_in_one_line(tmp_path: Path) -> None:
    raw = zipped(tmp_path / "all.zip", {f"{n}.txt": random.Random(n).randbytes(50) for n in range(5)}).read_bytes()
    path = tmp_path / "cut.zip"
    for length in range(4, len(raw), 3):
        path.write_bytes(raw[:length])
        good, bad = parted(path)
        assert good == []
        assert [told.reason.split(" (")[0] for told in bad] == ["not a whole ZIP"]


@given(data=st.data())
def test_a_zip_with_any_bytes_wrong_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "wrong.zip"
    raw = bytearray(zipped(path, {"a.txt": b"one text", "b/c.txt": b"another" * 9}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    for member in parted(path)[0]:
        with contextlib.suppress(MemberError):
            member.open().read()


def test_a_zip_in_a_zip_is_a_member_and_is_not_opened(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a.txt": b"a"}).read_bytes()
    assert list(whole(zipped(tmp_path / "outer.zip", {"inner.zip": inner}))) == ["inner.zip"]


def test_a_text_that_ends_as_a_zip_does_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"about ZIPs: " + zipped(tmp_path / "x.zip", {"a": b"a"}).read_bytes())
    assert list(whole(path)) == ["a.txt"]


def test_names_are_right_in_both_code_pages_and_where_utf8_is_not_declared(tmp_path: Path) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("XX.txt", "YYYY.txt", "übung 👍.txt"):
            archive.writestr(name, b"")
    raw = path.read_bytes().replace(b"XX.txt", b"\x81\x82.txt").replace(b"YYYY.txt", "日k.txt".encode())
    path.write_bytes(raw)
    assert sorted(member.name for member in parted(path)[0]) == sorted(["üé.txt", "日k.txt", "übung 👍.txt"])


def test_seventy_thousand_members_take_little_time(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(70_000):
            archive.writestr(zipfile.ZipInfo(f"thread_{n % 300}/message_{n}.json"), b"{}")
    begun = time.process_time()
    good, bad = parted(path)
    assert (len(good), bad) == (70_000, [])
    assert good[-1].open().read() == b"{}"
    assert time.process_time() - begun < 10


def test_a_member_can_be_gone_to_and_fro_in(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(200_000)
    (member,) = parted(zipped(tmp_path / "a.zip", {"a.pdf": data}))[0]
    with member.open() as file:
        assert file.seek(-100, os.SEEK_END) == len(data) - 100
        assert file.read() == data[-100:]
        file.seek(10)
        assert file.read(10) == data[10:20]


def test_what_is_wrong_within_reading_names_the_member() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise lzma.LZMAError("Corrupt input data")

    member = Member("a", "all.zip: a", 5, Failing)
    with pytest.raises(MemberError, match=r"all\.zip: a: Corrupt input data"):
        member.read_head()


def test_a_folder_may_have_more_zips_than_a_process_may_have_files_open(tmp_path: Path) -> None:
    for number in range(60):
        zipped(tmp_path / f"{number}.zip", {"a.txt": b"a text", "b.txt": b"another"})
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, before[1]))
    try:
        whole = detect.detect_kinds(tmp_path, "text")
        texts = [one for lot in whole.groups for one in detect.read_items(lot)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not whole.damaged
    assert len(texts) == 120


def test_names_that_a_program_of_windows_wrote_have_slashes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"inbox": b"", "inbox/bob_1/message_1.json": b"{}"})
    path.write_bytes(path.read_bytes().replace(b"inbox/bob_1/message", b"inbox\\bob_1\\message"))
    assert [one.name for one in parted(path)[0]] == ["inbox", "inbox/bob_1/message_1.json"]
