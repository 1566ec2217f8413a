from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from corpus_items import (
    damaged_of,
    import_path,
    make_folder,
    make_zip,
    members_of,
    records_of,
    skip_reasons,
    texts_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.corpus import detect
from tools.corpus.importers import whatsapp
from tools.corpus.importers.whatsapp_dates import parse_stamp
from tools.corpus.record import ImportItem, KnownPerson, Record

ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")
NNBSP = "\u202f"
DOTTED = ("a.\xa0m.", "p.\xa0m.")
LRM = "\u200e"


def import_chat(tmp_path: Path, text: str, name: str = "_chat.txt") -> list[ImportItem]:
    (tmp_path / name).write_text(text, "utf-8")
    return import_path(whatsapp, tmp_path / name)


def said(items: list[ImportItem]) -> list[tuple[str, str]]:
    return [(record.who, record.text) for record in records_of(items)]


# --- every form of a stamp ---


def twelve_hours(when: datetime, am: str, pm: str, gap: str) -> str:
    return f"{when.hour % 12 or 12}:{when:%M}{gap}{am if when.hour < 12 else pm}"


FORMS = {  # name: (the stamp before `Name: text`, whether it has seconds)
    "android us": (lambda t: f"{t.month}/{t.day}/{t:%y}, {twelve_hours(t, 'AM', 'PM', NNBSP)} - ", False),
    "android us plain": (lambda t: f"{t.month}/{t.day}/{t:%y}, {t:%H:%M} - ", False),
    "android uk": (lambda t: f"{t:%d/%m/%Y, %H:%M} - ", False),
    "android uk am": (lambda t: f"{t:%d/%m/%Y}, {twelve_hours(t, 'am', 'pm', ' ')} - ", False),
    "android de": (lambda t: f"{t:%d.%m.%y, %H:%M} - ", False),
    "android nl": (lambda t: f"{t:%d-%m-%Y %H:%M} - ", False),
    "android es": (lambda t: f"{t.day}/{t.month}/{t:%y} {t.hour}:{t:%M} - ", False),
    "android mx": (lambda t: f"{t.day}/{t.month}/{t:%Y}, {twelve_hours(t, *DOTTED, NNBSP)} - ", False),
    "android fr": (lambda t: f"{t:%d/%m/%Y à %H:%M} - ", False),
    "android sv": (lambda t: f"{t:%Y-%m-%d %H:%M} - ", False),
    "android ja": (lambda t: f"{t:%Y/%m/%d %H:%M} - ", False),
    "android zh": (
        lambda t: f"{t.year}/{t.month}/{t.day} {'上午' if t.hour < 12 else '下午'}{t.hour % 12 or 12}:{t:%M} - ",
        False,
    ),
    "android ko": (
        lambda t: f"{t.year}. {t.month}. {t.day}. {'오전' if t.hour < 12 else '오후'} {t.hour % 12 or 12}:{t:%M} - ",
        False,
    ),
    "android hu": (lambda t: f"{t:%Y. %m. %d. %H:%M} - ", False),
    "android bg": (lambda t: f"{t:%d.%m.%y} г., {t.hour}:{t:%M} ч. - ", False),
    "android ar": (
        lambda t: (
            f"\u200f{t.day}\u200f/{t.month}\u200f/{t.year}، {t.hour % 12 or 12}:{t:%M} {'ص' if t.hour < 12 else 'م'} - "
        ).translate(ARABIC),
        False,
    ),
    "android fa": (lambda t: f"{t.year}/{t.month}/{t.day}،{t:%H:%M} - ".translate(PERSIAN), False),
    "android hi": (
        lambda t: f"{t.day}/{t.month}/{t:%y}, {twelve_hours(t, 'पूर्वाह्न', 'अपराह्न', ' ')} - ".translate(DEVANAGARI),
        False,
    ),
    "iphone de": (lambda t: f"[{t:%d.%m.%y, %H:%M:%S}] ", True),
    "iphone us": (
        lambda t: f"[{t.month}/{t.day}/{t:%y}, {t.hour % 12 or 12}:{t:%M:%S}{NNBSP}{'AM' if t.hour < 12 else 'PM'}] ",
        True,
    ),
    "iphone marked": (lambda t: f"{LRM}[{t:%d/%m/%Y, %H:%M:%S}] ", True),
    "iphone fi": (lambda t: f"[{t.day}.{t.month}.{t.year} klo {t.hour}.{t:%M.%S}] ", True),
    "iphone iso": (lambda t: f"[{t:%Y-%m-%d, %H:%M:%S}] ", True),
    "iphone ca": (lambda t: f"[{t:%Y-%m-%d}, {t:%H} h {t:%M} min {t:%S} s] ", True),
    "web us": (lambda t: f"[{t:%H:%M}, {t.month}/{t.day}/{t.year}] ", False),
    "web us am": (lambda t: f"[{twelve_hours(t, 'AM', 'PM', NNBSP)}, {t.month}/{t.day}/{t.year}] ", False),
    "web uk": (lambda t: f"[{twelve_hours(t, 'am', 'pm', ' ')}, {t:%d/%m/%Y}] ", False),
    "web mx": (lambda t: f"[{twelve_hours(t, *DOTTED, NNBSP)}, {t.day}/{t.month}/{t.year}] ", False),
    "web de": (lambda t: f"[{t:%H:%M}, {t.day}.{t.month}.{t.year}] ", False),
    "web fi": (lambda t: f"[{t.hour}.{t:%M}, {t.day}.{t.month}.{t.year}] ", False),
    "web nl": (lambda t: f"[{t:%H:%M, %d-%m-%Y}] ", False),
    "web sv": (lambda t: f"[{t:%H:%M, %Y-%m-%d}] ", False),
    "web zh": (
        lambda t: f"[{'上午' if t.hour < 12 else '下午'}{t.hour % 12 or 12}:{t:%M}, {t.year}/{t.month}/{t.day}] ",
        False,
    ),
    "web ar": (
        lambda t: f"[{t.hour % 12 or 12}:{t:%M} {'ص' if t.hour < 12 else 'م'}، {t.day}/{t.month}/{t.year}] ".translate(
            ARABIC
        ),
        False,
    ),
    "android vi": (lambda t: f"{t:%H:%M, %d/%m/%Y} - ", False),
    "iphone old": (lambda t: f"{t.day}/{t.month}/{t:%y}, {t:%H:%M:%S}: ", True),
}


@dataclass(frozen=True)
class Message:
    who: str
    text: str
    minutes: int


names = st.sampled_from(["Odo", "Mara Quist", "Lys 🚣", "+49 151 0000000", "Zoë", "Анна", "d'Arc", "Club 2"])
words = st.sampled_from(
    [
        "pump",
        "yes",
        "10:00",
        "Odo:",
        "a: b",
        "3/1/21",
        "<3",
        "(ok)",
        "é",
        "🚣",
        "נכון",
        "https://x.example",
        "--",
        "[sic]",
    ]
)
line = st.lists(words, min_size=1, max_size=6).map(" ".join)
text = st.lists(line, min_size=1, max_size=3).map("\n".join)
talk = st.lists(st.builds(Message, names, text, st.integers(0, 3000)), min_size=2, max_size=25)


def write_chat(messages: list[Message], form: str, start: datetime) -> tuple[str, list[datetime]]:
    stamp, _ = FORMS[form]
    when, lines, times = start, [], []
    for message in messages:
        when += timedelta(minutes=message.minutes)
        times.append(when)
        lines.append(f"{stamp(when)}{message.who}: {message.text}\n")
    return "".join(lines), times


def assert_comes_back(folder: Path, form: str, messages: list[Message], start: datetime) -> None:
    # A line without a colon tells where the name of its writer ends.
    messages = [*(Message(who, "Hello", 0) for who in sorted({message.who for message in messages})), *messages]
    # A day above 12 in the chat decides the order of the date.
    start = start.replace(day=28 if start.month != 2 else 27, second=0, microsecond=0)
    chat, times = write_chat(messages, form, start)
    items = import_chat(folder, chat)
    assert said(items) == [(message.who, message.text) for message in messages]
    minutes = [int(record.when or 0) // 60 for record in records_of(items)]
    assert minutes == [int(when.replace(tzinfo=UTC).timestamp()) // 60 for when in times]
    assert not damaged_of(items)


starts = st.datetimes(datetime(2012, 1, 1), datetime(2030, 1, 1))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12, deadline=None)
@given(messages=talk, start=starts)
def test_a_chat_in_each_form_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, form: str, messages: list[Message], start: datetime
) -> None:
    assert_comes_back(tmp_path_factory.mktemp("chat"), form, messages, start)


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=200, deadline=None)
@given(messages=talk, start=starts)
def test_many_chats_in_each_form_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, form: str, messages: list[Message], start: datetime
) -> None:
    assert_comes_back(tmp_path_factory.mktemp("chat"), form, messages, start)


@pytest.mark.parametrize("order", ["dmy", "mdy"])
def test_the_order_of_a_date_is_that_of_most_lines(tmp_path: Path, order: str) -> None:
    form = {"dmy": "%d/%m/%Y", "mdy": "%m/%d/%Y"}[order]
    days = [datetime(2021, 3, 1) + timedelta(days=n) for n in range(60)]
    lines = [f"{day.strftime(form)}, 10:00 - Odo: {n}\n" for n, day in enumerate(days)]
    lines.insert(30, "25/12/2020, 10:00 - Odo: x\n12/25/2020, 10:00 - Odo: y\n")  # pasted from elsewhere
    records = records_of(import_chat(tmp_path, "".join(lines)))
    assert records[0].when == days[0].replace(tzinfo=UTC).timestamp() + 36000
    assert records[-1].when == days[-1].replace(tzinfo=UTC).timestamp() + 36000


def test_without_a_day_above_twelve_time_goes_forward(tmp_path: Path) -> None:
    chat = "".join(f"{d}/{m}/2021, 10:00 - Odo: {d}\n" for d, m in [(9, 1), (12, 1), (2, 2), (1, 3)])
    first = records_of(import_chat(tmp_path, chat))[0]
    assert first.when == datetime(2021, 1, 9, 10, tzinfo=UTC).timestamp()
    chat = "".join(f"{n}/2/2021, 10:00 - Odo: {n}\n" for n in range(3, 6))
    dates = [datetime.fromtimestamp(record.when or 0, UTC) for record in records_of(import_chat(tmp_path, chat))]
    assert [date.day for date in dates] == [3, 4, 5]


def test_two_digit_years_may_come_first(tmp_path: Path) -> None:
    chat = "21. 3. 1. 오후 1:05 - Odo: a\n21. 3. 2. 오후 1:05 - Mara: b\n"
    assert records_of(import_chat(tmp_path, chat))[0].when == datetime(2021, 3, 1, 13, 5, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "line",
    ["3:16 - For God so loved", "12/24 10:00 - x", "1.5 litres, 10:00 - x", "99/99/21, 10:99 - x: y", "", "[a] b: c"],
)
def test_another_line_is_no_stamp(line: str) -> None:
    assert parse_stamp(line) is None


# --- what is no text of a person ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<Media omitted>", "a photo, a video or a file"),
        ("<Medien ausgeschlossen>", "a photo, a video or a file"),
        ("<省略多媒体文件>", "a photo, a video or a file"),
        ("IMG-20210301-WA0001.jpg (file attached)", "a photo"),
        ("PTT-20210301-WA0001.opus (archivo adjunto)", "a sound"),
        (f"{LRM}VID-20210301-WA0001.mp4 (Datei angehängt)", "a video"),
        (f"{LRM}Boat list.pdf (Datei angehängt)", "a file"),
        (f"{LRM}<attached: 00000012-PHOTO-2021-03-01-10-00-00.jpg>", "a photo"),
        (f"{LRM}<Anhang: 00000012-AUDIO-2021-03-01-10-00-00.opus>", "a sound"),
        (f"{LRM}list.pdf • {LRM}3 pages {LRM}<attached: 00000012-list.pdf>", "a file"),
        ("Odo Brink.vcf (file attached)", "a contact"),
        ("location: https://maps.google.com/?q=53.5,9.9", "a location"),
        (f"{LRM}Standort: https://maps.google.com/?q=53.5,9.9", "a location"),
        ("This message was deleted", "a deleted message"),
        (f"{LRM}Diese Nachricht wurde gelöscht.", "a deleted message"),
        ("Vous avez supprimé ce message", "a deleted message"),
        (f"{LRM}Missed voice call, {LRM}tap to call back", "a system notice"),
        (f"{LRM}Odo hat die Gruppe „Boot: Verein“ erstellt.", "a system notice"),
        ("POLL:\nTea?\nOPTION: Yes (2 votes)\nOPTION: No (0 votes)", "a poll"),
        (f"{LRM}UMFRAGE:\nTee?\n{LRM}OPTION: Ja ({LRM}2 Stimmen)\n{LRM}OPTION: Nein ({LRM}0 Stimmen)", "a poll"),
        ("null", "a system notice"),
        (f"report.pdf • {LRM}3 pages {LRM}document omitted", "a file"),
        (f"The boat • {LRM}1,2 MB {LRM}Dokument weggelassen", "a file"),
        (f"report.pdf {LRM}document omitted", "a file"),
        ("live location shared", "a system notice"),
        ("Live location shared", "a system notice"),
        ("", "an empty message"),
    ],
)
def test_media_and_notices_are_known_by_their_shape(tmp_path: Path, text: str, reason: str) -> None:
    chat = f"01.03.21, 10:00 - Mara: Hello.\n01.03.21, 10:01 - Odo: {text}\n01.03.21, 10:02 - Mara: Bye.\n"
    items = import_chat(tmp_path, chat)
    assert texts_of(items) == ["Hello.", "Bye."]
    assert skip_reasons(items) == [reason]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("IMG-20210301-WA0001.jpg (file attached)\nThe pump", "The pump"),
        (f"{LRM}<attached: 00000012-PHOTO-2021.jpg>\nThe pump", "The pump"),
        (f"The pump {LRM}<attached: 00000012-PHOTO-2021.jpg>", "The pump"),
        (f"The pump {LRM}image omitted", "The pump"),
        (f"Fixed. {LRM}<This message was edited>", "Fixed."),
        ("Fixed. <Diese Nachricht wurde bearbeitet.>", "Fixed."),
        ("Ask @\u2068Lys\u2069 first", "Ask @Lys first"),
        ("<sigh>", "<sigh>"),
        (f"report.pdf • {LRM}3 pages {LRM}document omitted\nThe pump", "The pump"),
        ("Tea • 3 cups", "Tea • 3 cups"),
        (f"See x.com {LRM}image omitted", "See x.com"),
        ("I <3 boats (a lot)", "I <3 boats (a lot)"),
        ("see notes.txt (the old one)", "see notes.txt (the old one)"),
        ("a < b > c", "a < b > c"),
    ],
)
def test_words_of_a_person_stay(tmp_path: Path, text: str, kept: str) -> None:
    chat = f"01.03.21, 10:00 - Mara: Hello.\n01.03.21, 10:01 - Odo: {text}\n"
    assert texts_of(import_chat(tmp_path, chat)) == ["Hello.", kept]


def test_phrases_of_an_unknown_language_are_learned_from_the_file(tmp_path: Path) -> None:
    media = [f"{LRM}kuva jätettiin pois"] * 2 + [
        f"Pumppu {LRM}kuva jätettiin pois",
        f"{LRM}kuva jätettiin pois\nPumppu",
    ]
    edited = ["Kyllä. <Tätä viestiä muokattiin>"] * 3
    chat = "".join(f"[1.3.2021 klo 10.00.{n:02}] Odo: {text}\n" for n, text in enumerate([*media, *edited]))
    items = import_chat(tmp_path, chat)
    assert texts_of(items) == ["Pumppu", "Pumppu", "Kyllä.", "Kyllä.", "Kyllä."]


def test_notices_without_a_name_are_skipped(tmp_path: Path) -> None:
    notices = [
        "Messages and calls are end-to-end encrypted. No one outside of this chat can read them.",
        'Mara changed the subject from "Boat: old" to "Boat: new"',
        "Mara added Odo",
        "Mara Quist added this group to the community: Boats",
        "+49 151 0000000 left",
    ]
    lines = [f"01.03.21, 10:00 - {notice}\n" for notice in notices]
    lines += [f"01.03.21, 10:01 - {who}: hi\n" for who in ("Mara Quist", "Odo", "Mara Quist", "Mara", "Odo")]
    items = import_chat(tmp_path, "".join(lines))
    assert texts_of(items) == ["hi"] * 5
    assert skip_reasons(items) == ["a system notice"] * 5


# --- names ---


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Odo: work", "Odo: work"),
        ("~ Odo", "Odo"),
        (f"~{NNBSP}Odo Brink", "Odo Brink"),
        ("\u202a+49 151 0000000\u202c", "+49 151 0000000"),
        ("🚣 Odo", "🚣 Odo"),
        ('Bob "Tank" Smith', 'Bob "Tank" Smith'),
        ("Odo - boat", "Odo - boat"),
    ],
)
def test_unusual_names_are_whole(tmp_path: Path, written: str, name: str) -> None:
    lines = [f"[01.03.21, 10:00:0{n}] {who}: text {n}\n" for n, who in enumerate([written, "Mara"] * 4)]
    assert {who for who, _ in said(import_chat(tmp_path, "".join(lines)))} == {name, "Mara"}


def test_two_names_with_the_same_start_stay_two(tmp_path: Path) -> None:
    lines = [f"01.03.21, 10:0{n} - Boat: {who}: hi {n}\n" for n, who in enumerate(["Odo", "Mara"] * 4)]
    assert {who for who, _ in said(import_chat(tmp_path, "".join(lines)))} == {"Boat: Odo", "Boat: Mara"}


def test_mentioned_people_are_named_for_the_anonymous(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("01.03.21, 10:00 - Odo: Ask @\u2068Lys Vogel\u2069.\n", "utf-8")
    items = list(whatsapp.read_items(members_of(tmp_path)))
    assert [item.name for item in items if isinstance(item, KnownPerson)] == ["Lys Vogel"]


# --- files ---


def test_a_chat_is_found_by_its_content(tmp_path: Path) -> None:
    chat = "01.03.21, 10:00 - Odo: Is the pump fixed?\n01.03.21, 10:01 - Mara: Yes.\n"
    files = {f"{name}.txt": chat + f"01.03.21, 10:02 - Odo: {name}\n" for name in ("Chat de WhatsApp con Odo", "x")}
    files |= {"WhatsApp Chat with J. Smith": chat, "diary.txt": "1 March 2021, 10:00\nRowed: two hours.\n"}
    kinds = {g.kind: [m.name for m in g.members] for g in detect.detect_kinds(make_folder(tmp_path, files)).groups}
    assert kinds == {"whatsapp": sorted(set(files) - {"diary.txt"}), "text": ["diary.txt"]}


@pytest.mark.parametrize(
    "line",
    [
        "3/1/21, 10:00 - Messages and calls are end-to-end encrypted. Tap to learn more.",
        "01.03.21, 10:00 - Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt. Tippe, um mehr zu erfahren.",
        "01/03/2021 à 10:00 - Les messages et les appels sont chiffrés de bout en bout.",
    ],
)
def test_a_chat_in_which_nobody_wrote_is_no_text(tmp_path: Path, line: str) -> None:
    stamp = line.partition(" - ")[0]
    (group,) = detect.detect_kinds(make_folder(tmp_path, {"a.txt": f"{line}\n{stamp} - Odo left\n"})).groups
    assert group.kind == "whatsapp"
    assert not texts_of(detect.read_items(group))


def test_lines_with_dates_and_without_names_are_a_text(tmp_path: Path) -> None:
    diary = "01.03.21, 10:00 - Rowed all day.\n02.03.21, 10:00 - Read about end-to-end encryption.\n\nTea.\n"
    (group,) = detect.detect_kinds(make_folder(tmp_path, {"a.txt": diary})).groups
    assert group.kind == "text"


def test_a_chat_whose_start_was_cut_off_is_read(tmp_path: Path) -> None:
    lines = ["the rest of a message", "", *(f"01.03.21, 10:0{n} - Odo: hi {n}" for n in range(5)), ""]
    items = import_chat(tmp_path, "\n".join(lines), "cut.txt")
    assert texts_of(items) == [f"hi {n}" for n in range(5)]
    assert skip_reasons(items) == ["a message whose start is missing"]


def test_a_zip_is_one_chat_and_its_attachments_are_no_texts(tmp_path: Path) -> None:
    chat = f"[01.03.21, 10:00:00] Odo: {LRM}<attached: 00000001-list.txt>\n[01.03.21, 10:00:01] Mara: Thanks.\n"
    files = {"_chat.txt": chat, "00000001-list.txt": "ropes", "00000002-PHOTO.jpg": b"\xff", "own.txt": "not attached"}
    groups = detect.detect_kinds(make_zip(tmp_path / "WhatsApp Chat - Odo.zip", files)).groups
    assert {g.kind: [m.name for m in g.members] for g in groups} == {
        "whatsapp": ["_chat.txt", "00000001-list.txt"],
        "text": ["own.txt"],
    }
    (record,) = records_of(items := list(detect.read_items(groups[0])))
    assert (record.thread, record.text) == ("WhatsApp Chat - Odo", "Thanks.")
    assert skip_reasons(items) == ["an attached file", "a file"] or skip_reasons(items) == [
        "a file",
        "an attached file",
    ]


def test_several_chats_in_a_folder_are_several_threads(tmp_path: Path) -> None:
    chat = "01.03.21, 10:00 - Odo: hi\n"
    items = import_path(whatsapp, make_folder(tmp_path, {"a/_chat.txt": chat, "b/_chat.txt": chat}))
    assert {record.thread for record in records_of(items)} == {"a", "b"}


def test_equal_messages_of_one_minute_are_no_duplicates(tmp_path: Path) -> None:
    chat = "01.03.21, 10:00 - Odo: ha\n" * 3
    assert len({record.when for record in records_of(import_chat(tmp_path, chat))}) == 3


def test_a_file_that_is_no_chat_is_reported_when_forced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Rowed all day.\n")
    items = list(whatsapp.read_items(members_of(tmp_path)))
    assert [item.reason for item in damaged_of(items)] == [
        "not a chat of WhatsApp: no line begins with a date and a name"
    ]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='01239/.-:,[] \u200e\u202fAPMap.mOdo년월일上午hklo()<>"\n', max_size=200))
def test_no_text_makes_the_reader_fail(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.txt"
    path.write_text(content, "utf-8")
    for item in whatsapp.read_items(members_of(path)):
        assert not isinstance(item, Record) or (item.text.strip() and item.who)
