"""The `--person` of a corpus answers by default: from a chat file, through training, to the daemon's speakers."""

# ruff: noqa: E402  torch may be missing

import re
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes

from daemon.config import Config, ConversationConfig, ModelConfig
from daemon.model_factory import load_conversation
from model.store import store
from tools.main import main
from tools.train import command, inputs


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    return tmp_path / "models"


def whatsapp(path: Path, people: tuple[str, ...] = ("Bob Stone", "Cleo", "Ann Ames"), messages: int = 600) -> Path:
    """Writes a chat of many days in which the last of the people writes least."""
    rng, lines = Random(1), []
    weights = range(len(people), 0, -1)
    for number in range(messages):
        (who,) = rng.choices(people, weights)
        text = f"{rng.choice(fakes.SUBJECTS)} {rng.choice(fakes.VERBS)} {rng.choice(fakes.OBJECTS)} {number}."
        day, minute = divmod(number, 12)
        lines.append(f"{1 + day % 28:02}/{1 + day // 28:02}/2021, 10:{minute:02} - {who}: {text}\n")
    path.write_text("".join(lines), "utf-8")
    return path


def person_of(*words: str) -> str:
    assert main(["corpus", "add", *words, "--name", "chat"]) == 0
    return inputs.read_texts([Path("chat")]).person


def test_the_person_of_a_corpus_answers_by_default(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert person_of(str(whatsapp(tmp_path / "chat.txt")), "--person", "ames") == "Ann Ames"
    args = fakes.parse_train_args("chat", "--name", "voice", "--steps", 3, *fakes.SIZE)
    assert command.main(args) == 0
    output = capsys.readouterr().out
    assert "\n    Ann Ames:" in output
    assert "\nat the machine it answers as Ann Ames: asr33 run --model voice\n" in output
    assert output.endswith("try: asr33 ask 'Ann Ames:' --model voice\n")
    training = store.verify_model(home / "voice").training
    assert training["persona"] == "Ann Ames"
    assert next(iter(training["personas"])) == "Bob Stone"
    card = (home / "voice" / store.CARD_FILE).read_text("utf-8")
    assert "`asr33 run` answers as Ann Ames." in card
    assert '    persona = "Ann Ames"\n    you = "Bob Stone"\n' in card
    assert main(["model", "show", "voice"]) == 0
    shown = capsys.readouterr().out
    assert re.search("^speakers +Bob Stone, Cleo, Ann Ames$", shown, re.MULTILINE)
    assert re.search("^persona +Ann Ames$", shown, re.MULTILINE)
    speakers = load_conversation(Config(model=ModelConfig(name="voice"))).speakers
    assert (speakers.persona, speakers.you) == ("Ann Ames", "Bob Stone")
    chosen = Config(model=ModelConfig(name="voice"), conversation=ConversationConfig("cleo"))
    assert load_conversation(chosen).speakers.persona == "Cleo"


def test_without_a_person_the_text_is_continued_and_the_command_names_a_speaker(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert person_of(str(whatsapp(tmp_path / "chat.txt"))) == ""
    args = fakes.parse_train_args("chat", "--name", "voice", "--steps", 2, *fakes.SIZE)
    assert command.main(args) == 0
    assert "\nat the machine: asr33 run --model voice --persona 'Bob Stone'\n" in capsys.readouterr().out
    assert "persona" not in store.verify_model(home / "voice").training
    assert load_conversation(Config(model=ModelConfig(name="voice"))).speakers.persona == ""


def test_the_person_of_an_anonymous_corpus_has_the_invented_name(tmp_path: Path) -> None:
    person = person_of(str(whatsapp(tmp_path / "chat.txt")), "--person", "Ann Ames", "--anonymous")
    texts = inputs.read_texts([Path("chat")])
    assert person not in ("", "Ann Ames", "Bob Stone", "Cleo")
    assert all(document.splitlines()[-1].startswith(f"{person}: ") for document in texts.documents)


@pytest.mark.parametrize(
    "name", ["@ann_b", "+49 170 1234567", "😀 Ann", "Zoë Müller-Lüdenscheidt", "3PO", "Ann (work)"]
)
def test_any_name_of_a_person_answers(tmp_path: Path, name: str) -> None:
    person = person_of(str(whatsapp(tmp_path / "chat.txt", ("Bob Stone", name))), "--person", name)
    assert person == name
    personas = inputs.count_personas(inputs.read_texts([Path("chat")]).documents, person)
    assert person in personas
    assert "Bob Stone" in personas


def test_a_person_who_writes_little_is_among_the_speakers() -> None:
    lines = [f"Speaker {'abcdefghij'[n % 10]}{'abcdefghijklmnopqrstuvwxyz'[n // 10 % 26]}: Hi." for n in range(1000)]
    personas = inputs.count_personas(["\n".join([*lines, "Zoe: Oh.", "Zoe: No."])], "Zoe")
    assert len(personas) == inputs.MAX_PERSONAS + 1
    assert personas["Zoe"] == 2


def test_of_two_people_with_the_name_the_more_talkative_answers(tmp_path: Path) -> None:
    people = ("Bob", "Ann Bell", "Cleo", "Ann Ames")
    assert person_of(str(whatsapp(tmp_path / "chat.txt", people)), "--person", "ann") == "Ann Bell"


def test_texts_without_speakers_have_no_person(tmp_path: Path) -> None:
    text = fakes.write_text(tmp_path / "text.txt")
    tweets = tmp_path / "tweets.csv"
    rows = (f'{number},2020-01-0{1 + number % 9} 10:00:00,"A tweet, number {number}.",ann\n' for number in range(200))
    tweets.write_text("id,created_at,text,username\n" + "".join(rows), "utf-8")
    assert person_of(str(text), str(tweets), "--person", "ann") == ""
    assert inputs.read_texts([text]).person == ""


def test_ask_ends_an_answer_before_another_speakers_tag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert person_of(str(whatsapp(tmp_path / "chat.txt")), "--person", "ames") == "Ann Ames"
    args = fakes.parse_train_args("chat", "--name", "voice", "--steps", 300, "--hold-out", "0%", *fakes.SIZE)
    assert command.main(args) == 0

    def ask(*words: str) -> str:
        capsys.readouterr()
        assert main(["ask", "--model", "voice", "--max-tokens", "400", *words]) == 0
        return capsys.readouterr().out

    prompt, tag = "Cleo: Hi.\nBob Stone:", re.compile(r"^(Ann Ames|Cleo): ", re.MULTILINE)
    answers = {str(seed): ask(prompt, "--run-on", "--seed", str(seed)) for seed in range(5)}
    seed, endless = next(item for item in answers.items() if tag.search(item[1]))  # others may end with the text
    usual = ask(prompt, "--seed", seed)
    assert usual.strip()
    assert endless.startswith(usual.rstrip("\n"))
    assert not re.search(r"^(Ann Ames|Cleo):", usual, re.MULTILINE)
    assert not re.search(r"^(Bob Stone|Cleo|Ann Ames):", ask("It was"), re.MULTILINE)
