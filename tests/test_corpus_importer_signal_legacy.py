import csv
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from corpus_items import damaged_of, import_path, records_of, texts_of, warnings_of
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.importers import signal, signal_xml
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

JUNE = 1_717_236_000_000
IN, OUT = 10485780, 10485783
XML_DECLARATION = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n"
HEADER = [
    *("ID", "THREAD_ID", "ADDRESS", "ADDRESS_DEVICE_ID", "PERSON", "DATE_RECEIVED", "DATE_SENT", "PROTOCOL", "READ"),
    *("STATUS", "TYPE", "REPLY_PATH_PRESENT", "DELIVERY_RECEIPT_COUNT", "SUBJECT", "BODY", "MISMATCHED_IDENTITIES"),
    *("SERVICE_CENTER", "SUBSCRIPTION_ID", "EXPIRES_IN", "EXPIRE_STARTED", "NOTIFIED", "READ_RECEIPT_COUNT"),
]


def table_row(thread: int, kind: int, body: str, at: int = 0) -> list[object]:
    cells: dict[str, object] = {"THREAD_ID": thread, "ADDRESS": "+441632960001", "TYPE": kind, "BODY": body}
    cells |= {"ID": 1, "DATE_SENT": JUNE + at, "DATE_RECEIVED": JUNE + 99}
    return [cells.get(name, "") for name in HEADER]


def write_table(folder: Path, *rows: list[object]) -> Path:
    path = folder / "signal.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([HEADER, *rows])
    return path


def write_xml(folder: Path, elements: str, start: str = XML_DECLARATION) -> Path:
    path = folder / "sms.xml"
    path.write_text(f'{start}<smses count="1">{elements}</smses>')
    return path


def sms_element(body: str, kind: int = 1, at: int = 0, name: str = "Bob", address: str = "+441632960001") -> str:
    return (
        f'<sms protocol="0" address={quoteattr(address)} date="{JUNE + at}" type="{kind}" subject="null" '
        f'body={quoteattr(body)} read="1" contact_name={quoteattr(name)} />\n'
    )


def import_items(path: Path) -> list[ImportItem]:
    return import_path(signal, path)


def test_the_type_and_not_the_address_gives_the_sender(tmp_path: Path) -> None:
    rows = [table_row(1, IN, "received, with a comma 🎉"), table_row(1, OUT, 'sent\n\n"in lines"', 1)]
    path = write_table(tmp_path, *rows)
    assert import_items(path) == [
        Record(str(path), "Thread 1", "received, with a comma 🎉", "+441632960001", JUNE / 1000, "message", False),
        Record(str(path), "Thread 1", 'sent\n\n"in lines"', "Me", JUNE / 1000 + 0.001, "message", True),
    ]


def test_mixed_rows_are_sorted_by_thread(tmp_path: Path) -> None:
    rows = [table_row(2, IN, "c", 5), table_row(1, IN, "b", 4), table_row(2, IN, "d", 6), table_row(1, IN, "a", 3)]
    assert texts_of(import_items(write_table(tmp_path, *rows))) == ["a", "b", "c", "d"]


def test_calls_notices_and_empty_rows_are_counted(tmp_path: Path) -> None:
    path = write_table(tmp_path, table_row(1, 1, ""), table_row(1, IN | 0x10000, "base64=="), table_row(1, IN, " "))
    reasons = ("a call", "a notice", "an empty message")
    assert import_items(path) == [SkippedItem(str(path), reason) for reason in reasons]


def test_columns_of_another_program_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "message.csv"
    header = "_id,date_sent,date_received,thread_id,from_recipient_id,type,body"
    path.write_text(f"{header}\n1,{JUNE},5,7,12,{IN},hello\n", "utf-8-sig")
    (record,) = records_of(import_items(path))
    assert (record.thread, record.who, record.when) == ("Thread 7", "12", JUNE / 1000)


def test_a_row_of_another_width_is_reported_by_line_and_skipped(tmp_path: Path) -> None:
    path = write_table(tmp_path, table_row(1, IN, "before"), ["1", "2", "3"], table_row(1, IN, "after", 1))
    items = import_items(path)
    assert texts_of(items) == ["before", "after"]
    assert damaged_of(items) == [DamagedItem(f"{path}, line 3", f"3 cells, not {len(HEADER)}")]


def test_an_unclosed_quote_is_reported(tmp_path: Path) -> None:
    path = write_table(tmp_path, table_row(1, IN, "before"))
    path.write_text(path.read_text() + '1,1,"never closed\n' + "and so on\n" * 100_000)
    items = import_items(path)
    assert texts_of(items) == ["before"]
    assert damaged_of(items)


def unquoted_row(thread: int, body: str, at: int) -> str:
    """Returns a CSV row without quotes."""
    return ",".join(map(str, table_row(thread, IN, body, at))) + "\n"


def test_unbalanced_quotes_lose_no_message(tmp_path: Path) -> None:
    path = write_table(tmp_path, table_row(1, IN, "before"))
    bodies = ['"so he said', "first, and", '"quoted" and, then, more', "last", '"', 'a "b" c']
    path.write_text(path.read_text() + "".join(unquoted_row(1, body, at) for at, body in enumerate(bodies, 1)))
    items = import_items(path)
    assert texts_of(items) == ["before", *bodies]
    assert [item for item in items if not isinstance(item, Record)] == [
        SourceWarning(str(path), "quotes and commas that are not valid CSV, kept as they are, in line 3, 4, 5, ...")
    ]


def is_plain(body: str) -> bool:
    """A quoted line of six commas and more may also be an unquoted `"` and empty cells: no reader can tell."""
    return bool(body.strip()) and ",,,,,," not in body


@given(st.lists(st.text('a",\n ', min_size=1, max_size=20).filter(is_plain), min_size=1, max_size=12))
def test_valid_rows_survive_a_round_trip(tmp_path_factory: pytest.TempPathFactory, bodies: list[str]) -> None:
    rows = (table_row(1, IN, body, at) for at, body in enumerate(bodies))
    path = write_table(tmp_path_factory.mktemp("signal"), *rows)
    items = import_items(path)
    assert texts_of(items) == [body.strip() for body in bodies]
    assert len(items) == len(bodies)


def test_a_byte_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    path = write_table(tmp_path, table_row(1, IN, "caf?"))
    path.write_bytes(path.read_bytes().replace(b"caf?", b"caf\xe9"))
    items = import_items(path)
    assert texts_of(items) == ["café"]
    assert warnings_of(items)


def test_another_table_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text("id,text,body\n1,2,3\n")
    assert not import_items(tmp_path)


def test_xml_has_names_and_the_type_gives_the_sender(tmp_path: Path) -> None:
    path = write_xml(tmp_path, sms_element("hi & <hello> 🎉\nagain") + sms_element("mine", kind=2, at=1))
    assert import_items(path) == [
        Record(str(path), "Bob", "hi & <hello> 🎉\nagain", "Bob", JUNE / 1000, "message", False),
        Record(str(path), "Bob", "mine", "Me", JUNE / 1000 + 0.001, "message", True),
    ]


def test_a_person_without_a_name_is_a_number(tmp_path: Path) -> None:
    elements = sms_element("a", name="(Unknown)") + sms_element("b", name="null", address="+1")
    records = records_of(import_items(write_xml(tmp_path, elements)))
    assert {record.who for record in records} == {"+441632960001", "+1"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (sms_element("later", kind=3), "a draft"),
        (sms_element("call", kind=0), "a notice"),
        (sms_element("null"), "an empty message"),
        ('<mms msg_box="1" date="5" address="+1"><parts><part ct="image/jpeg" text="null"/></parts></mms>', "a photo"),
    ],
)
def test_xml_without_a_text_is_counted(tmp_path: Path, body: str, reason: str) -> None:
    path = write_xml(tmp_path, body)
    assert import_items(path) == [SkippedItem(str(path), reason)]


def test_an_mms_joins_its_text_parts_and_has_its_sender_in_the_addresses(tmp_path: Path) -> None:
    mms = (
        f'<mms msg_box="1" date="{JUNE}" address="+1~+2" contact_name="Bob, Zoë"><parts><part ct="application/smil" '
        'text="&lt;smil/&gt;"/><part ct="text/plain" text="hello all"/></parts><addrs><addr address="+2" type="137"/>'
        '<addr address="+1" type="151"/></addrs></mms>'
    )
    (record,) = records_of(import_items(write_xml(tmp_path, mms)))
    assert (record.thread, record.who, record.text) == ("Bob, Zoë", "+2", "hello all")


def test_emoji_in_two_references_are_joined(tmp_path: Path) -> None:
    element = sms_element("HERE").replace("HERE", "a &#55357;&#56832; b &#xD83D;&#xDE00; c &#55357; d &#0; e &#128512;")
    assert texts_of(import_items(write_xml(tmp_path, element))) == ["a 😀 b 😀 c \ufffd d \ufffd e 😀"]


@pytest.mark.parametrize("size", range(1, 40))
def test_references_split_between_chunks_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(signal_xml, "CHUNK_BYTES", size)
    element = sms_element("HERE").replace("HERE", "&#55357;&#56832; & &#x1F600;".replace(" & ", " &amp; "))
    assert texts_of(import_items(write_xml(tmp_path, element))) == ["😀 & 😀"]


def test_truncated_xml_keeps_the_messages_before(tmp_path: Path) -> None:
    path = write_xml(tmp_path, sms_element("one") + sms_element("two", at=1))
    path.write_bytes(path.read_bytes()[:-60])
    damaged, record = import_items(path)
    assert isinstance(record, Record)
    assert isinstance(damaged, DamagedItem)
    assert damaged.source == str(path)
    assert damaged.reason.startswith("not complete XML")


def test_a_document_type_is_refused_before_entities_expand(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    path = write_xml(tmp_path, sms_element("HERE").replace("HERE", "&l9;"), f"<!DOCTYPE smses [{laughs}]>")
    (item,) = import_items(path)
    assert isinstance(item, DamagedItem)
    assert "document type" in item.reason


def test_a_huge_attribute_takes_linear_time(tmp_path: Path) -> None:
    single, twenty = [sms_element("x" * (20 << 20))], [sms_element("x" * (1 << 20))] * 20
    for _ in range(3):  # the machine may be busy
        seconds = []
        for elements in (single, twenty):
            path = write_xml(tmp_path, "".join(elements) + sms_element("after"))
            start = time.process_time()
            assert [text[-5:] for text in texts_of(import_items(path))] == ["xxxxx"] * len(elements) + ["after"]
            seconds.append(time.process_time() - start)
        if seconds[0] < 3 * seconds[1]:
            return
    pytest.fail(f"{seconds[0]:.1f} s for one element, {seconds[1]:.1f} s for the same text in twenty")


def test_a_huge_element_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_xml, "MAX_ELEMENT_BYTES", 1 << 20)
    (item,) = import_items(write_xml(tmp_path, sms_element("x" * (3 << 20))))
    assert isinstance(item, DamagedItem)
    assert "too large" in item.reason


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("&#x;<>\"'"), max_size=30))
def test_any_text_survives_xml(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if any(char in "\ufffe\uffff" for char in text):
        return
    path = write_xml(tmp_path_factory.getbasetemp(), sms_element(f".{text}."))
    assert texts_of(import_items(path)) == [f".{text}."]


@given(data=st.binary(max_size=60) | st.text("&#x0123456789dD8;", max_size=30).map(str.encode))
def test_repair_never_fails_and_keeps_valid_references(data: bytes) -> None:
    repaired = signal_xml.repair_references(data)
    assert signal_xml.repair_references(repaired) == repaired
