import csv
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.archive import Member, iter_members
from tools.corpus.importers import signal, signal_xml
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

JUNE = 1_717_236_000_000
IN, OUT = 10485780, 10485783
HEADER = [
    *("ID", "THREAD_ID", "ADDRESS", "ADDRESS_DEVICE_ID", "PERSON", "DATE_RECEIVED", "DATE_SENT", "PROTOCOL", "READ"),
    *("STATUS", "TYPE", "REPLY_PATH_PRESENT", "DELIVERY_RECEIPT_COUNT", "SUBJECT", "BODY", "MISMATCHED_IDENTITIES"),
    *("SERVICE_CENTER", "SUBSCRIPTION_ID", "EXPIRES_IN", "EXPIRE_STARTED", "NOTIFIED", "READ_RECEIPT_COUNT"),
]


def row(thread: int, kind: int, body: str, at: int = 0) -> list[object]:
    cells: dict[str, object] = {"THREAD_ID": thread, "ADDRESS": "+441632960001", "TYPE": kind, "BODY": body}
    cells |= {"ID": 1, "DATE_SENT": JUNE + at, "DATE_RECEIVED": JUNE + 99}
    return [cells.get(name, "") for name in HEADER]


def table(folder: Path, *rows: list[object]) -> Path:
    path = folder / "signal.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([HEADER, *rows])
    return path


def xml(folder: Path, inside: str, start: str = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n") -> Path:
    path = folder / "sms.xml"
    path.write_text(f'{start}<smses count="1">{inside}</smses>')
    return path


def sms(body: str, kind: int = 1, at: int = 0, name: str = "Bob", address: str = "+441632960001") -> str:
    return (
        f'<sms protocol="0" address={quoteattr(address)} date="{JUNE + at}" type="{kind}" subject="null" '
        f'body={quoteattr(body)} read="1" contact_name={quoteattr(name)} />\n'
    )


def taken(path: Path) -> list[ImportItem]:
    return list(signal.read_items(signal.claim([one for one in iter_members(path) if isinstance(one, Member)])))


def records(found: list[ImportItem]) -> list[Record]:
    return [one for one in found if isinstance(one, Record)]


def test_the_type_and_not_the_address_tells_who_wrote(tmp_path: Path) -> None:
    path = table(tmp_path, row(1, IN, "received, with a comma 🎉"), row(1, OUT, 'sent\n\n"in lines"', 1))
    assert taken(path) == [
        Record(str(path), "Thread 1", "received, with a comma 🎉", "+441632960001", JUNE / 1000, "message", False),
        Record(str(path), "Thread 1", 'sent\n\n"in lines"', "Me", JUNE / 1000 + 0.001, "message", True),
    ]


def test_rows_that_lie_mixed_come_thread_by_thread(tmp_path: Path) -> None:
    rows = [row(2, IN, "c", 5), row(1, IN, "b", 4), row(2, IN, "d", 6), row(1, IN, "a", 3)]
    assert [one.text for one in records(taken(table(tmp_path, *rows)))] == ["a", "b", "c", "d"]


def test_calls_notices_and_empty_rows_are_counted(tmp_path: Path) -> None:
    path = table(tmp_path, row(1, 1, ""), row(1, IN | 0x10000, "base64=="), row(1, IN, " "))
    assert taken(path) == [SkippedItem(str(path), why) for why in ("a call", "a notice", "an empty message")]


def test_the_columns_of_another_program_are_found_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "message.csv"
    path.write_text(
        f"_id,date_sent,date_received,thread_id,from_recipient_id,type,body\n1,{JUNE},5,7,12,{IN},hello\n", "utf-8-sig"
    )
    assert [(one.thread, one.who, one.when) for one in records(taken(path))] == [("Thread 7", "12", JUNE / 1000)]


def test_a_row_of_another_width_is_told_by_its_line_and_gone_over(tmp_path: Path) -> None:
    path = table(tmp_path, row(1, IN, "before"), ["1", "2", "3"], row(1, IN, "after", 1))
    found = taken(path)
    assert [one.text for one in records(found)] == ["before", "after"]
    assert [one for one in found if isinstance(one, DamagedItem)] == [
        DamagedItem(f"{path}, line 3", f"3 cells, not {len(HEADER)}")
    ]


def test_a_quote_that_nothing_closes_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, row(1, IN, "before"))
    path.write_text(path.read_text() + '1,1,"never closed\n' + "and so on\n" * 100_000)
    found = taken(path)
    assert [one.text for one in records(found)] == ["before"]
    assert any(isinstance(one, DamagedItem) for one in found)


def plain(thread: int, body: str, at: int) -> str:
    """A row of a program that knows no quotes."""
    return ",".join(map(str, row(thread, IN, body, at))) + "\n"


def test_no_message_is_lost_to_quotes_that_are_out_of_balance(tmp_path: Path) -> None:
    path = table(tmp_path, row(1, IN, "before"))
    bodies = ['"so he said', "first, and", '"quoted" and, then, more', "last", '"', 'a "b" c']
    path.write_text(path.read_text() + "".join(plain(1, body, at) for at, body in enumerate(bodies, 1)))
    found = taken(path)
    assert [one.text for one in records(found)] == ["before", *bodies]
    assert [one for one in found if not isinstance(one, Record)] == [
        SourceWarning(str(path), "quotes and commas that are none of CSV, taken as they stand, in line 3, 4, 5, ...")
    ]


@given(st.lists(st.text('a",\n ', min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=12))
def test_rows_that_were_written_well_come_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[str]
) -> None:
    path = table(tmp_path_factory.mktemp("signal"), *(row(1, IN, body, at) for at, body in enumerate(bodies)))
    found = taken(path)
    assert [one.text for one in records(found)] == [body.strip() for body in bodies]
    assert len(found) == len(bodies)


def test_a_byte_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, row(1, IN, "caf?"))
    path.write_bytes(path.read_bytes().replace(b"caf?", b"caf\xe9"))
    found = taken(path)
    assert [one.text for one in records(found)] == ["café"]
    assert any(isinstance(one, SourceWarning) for one in found)


def test_a_table_of_something_else_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text("id,text,body\n1,2,3\n")
    assert not taken(tmp_path)


def test_xml_has_names_and_type_tells_who_wrote(tmp_path: Path) -> None:
    path = xml(tmp_path, sms("hi & <hello> 🎉\nagain") + sms("mine", kind=2, at=1))
    assert taken(path) == [
        Record(str(path), "Bob", "hi & <hello> 🎉\nagain", "Bob", JUNE / 1000, "message", False),
        Record(str(path), "Bob", "mine", "Me", JUNE / 1000 + 0.001, "message", True),
    ]


def test_somebody_without_a_name_is_his_number(tmp_path: Path) -> None:
    found = records(taken(xml(tmp_path, sms("a", name="(Unknown)") + sms("b", name="null", address="+1"))))
    assert {one.who for one in found} == {"+441632960001", "+1"}


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (sms("later", kind=3), "a draft"),
        (sms("call", kind=0), "a notice"),
        (sms("null"), "an empty message"),
        ('<mms msg_box="1" date="5" address="+1"><parts><part ct="image/jpeg" text="null"/></parts></mms>', "a photo"),
    ],
)
def test_xml_without_a_text_is_counted(tmp_path: Path, inside: str, why: str) -> None:
    path = xml(tmp_path, inside)
    assert taken(path) == [SkippedItem(str(path), why)]


def test_an_mms_is_its_parts_of_text_and_its_sender_is_in_the_addresses(tmp_path: Path) -> None:
    mms = (
        f'<mms msg_box="1" date="{JUNE}" address="+1~+2" contact_name="Bob, Zoë"><parts><part ct="application/smil" '
        'text="&lt;smil/&gt;"/><part ct="text/plain" text="hello all"/></parts><addrs><addr address="+2" type="137"/>'
        '<addr address="+1" type="151"/></addrs></mms>'
    )
    (found,) = records(taken(xml(tmp_path, mms)))
    assert (found.thread, found.who, found.text) == ("Bob, Zoë", "+2", "hello all")


def test_emoji_that_are_two_halves_are_whole(tmp_path: Path) -> None:
    inside = sms("HERE").replace("HERE", "a &#55357;&#56832; b &#xD83D;&#xDE00; c &#55357; d &#0; e &#128512;")
    assert [one.text for one in records(taken(xml(tmp_path, inside)))] == ["a 😀 b 😀 c \ufffd d \ufffd e 😀"]


@pytest.mark.parametrize("size", range(1, 40))
def test_halves_that_a_chunk_parts_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(signal_xml, "CHUNK_BYTES", size)
    inside = sms("HERE").replace("HERE", "&#55357;&#56832; & &#x1F600;".replace(" & ", " &amp; "))
    assert [one.text for one in records(taken(xml(tmp_path, inside)))] == ["😀 & 😀"]


def test_xml_that_breaks_off_keeps_what_was_before(tmp_path: Path) -> None:
    path = xml(tmp_path, sms("one") + sms("two", at=1))
    path.write_bytes(path.read_bytes()[:-60])
    fault, one = taken(path)
    assert isinstance(one, Record)
    assert isinstance(fault, DamagedItem)
    assert fault.source == str(path)
    assert fault.reason.startswith("no whole XML")


def test_a_document_type_is_refused_before_its_entities_swell(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    path = xml(tmp_path, sms("HERE").replace("HERE", "&l9;"), f"<!DOCTYPE smses [{laughs}]>")
    (found,) = taken(path)
    assert isinstance(found, DamagedItem)
    assert "document type" in found.reason


def test_an_attribute_of_megabytes_takes_no_time_for_each_of_its_chunks(tmp_path: Path) -> None:
    whole, parts = [sms("x" * (20 << 20))], [sms("x" * (1 << 20))] * 20
    for _ in range(3):  # the computer may be busy with something else
        spent = []
        for some in (whole, parts):
            path = xml(tmp_path, "".join(some) + sms("after"))
            begun = time.process_time()
            assert [record.text[-5:] for record in records(taken(path))] == ["xxxxx"] * len(some) + ["after"]
            spent.append(time.process_time() - begun)
        if spent[0] < 3 * spent[1]:
            return
    pytest.fail(f"{spent[0]:.1f} s, and {spent[1]:.1f} s for as much in twenty")


def test_an_element_that_no_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_xml, "MAX_ELEMENT_BYTES", 1 << 20)
    (found,) = taken(xml(tmp_path, sms("x" * (3 << 20))))
    assert isinstance(found, DamagedItem)
    assert "too large" in found.reason


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("&#x;<>\"'"), max_size=30))
def test_any_text_comes_through_xml_as_it_was(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if any(char in "\ufffe\uffff" for char in text):
        return
    path = xml(tmp_path_factory.getbasetemp(), sms(f".{text}."))
    assert [one.text for one in records(taken(path))] == [f".{text}."]


@given(data=st.binary(max_size=60) | st.text("&#x0123456789dD8;", max_size=30).map(str.encode))
def test_mending_never_fails_and_leaves_what_is_right(data: bytes) -> None:
    mended = signal_xml.repair_references(data)
    assert signal_xml.repair_references(mended) == mended
