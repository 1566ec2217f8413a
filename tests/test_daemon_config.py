from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import AnswerConfig, Config, LineConfig, ModelConfig, load_config, resolve_log_folder
from daemon.errors import ConfigError
from drivers.profile import Profile, profile_to_toml

NOWHERE = {"XDG_CONFIG_HOME": "/nonexistent"}


def from_file(tmp_path: Path, text: str, flags: dict[str, dict[str, object]] | None = None) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(flags or {}, NOWHERE, path, system_folder=tmp_path / "etc")


def test_without_settings_the_defaults_hold(tmp_path: Path) -> None:
    assert load_config({}, NOWHERE, system_folder=tmp_path) == Config(model=ModelConfig("embedded"))


def test_flags_override_environment_and_environment_overrides_files(tmp_path: Path) -> None:
    (tmp_path / "etc/asr33").mkdir(parents=True)
    (tmp_path / "etc/asr33/config.toml").write_text(
        '[line]\nport = "/dev/etc"\n[machine]\ncolumns = 71\n[answer]\ntop_k = 1\n'
    )
    (tmp_path / "user/asr33").mkdir(parents=True)
    (tmp_path / "user/asr33/config.toml").write_text("[answer]\ntop_k = 2\nlength = 200\nseed = 5\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "user"), "ASR33_ANSWER_LENGTH": "300", "ASR33_ANSWER_SEED": "6"}
    config = load_config({"answer": {"seed": 7, "top_p": None}}, environ, system_folder=tmp_path / "etc")
    assert (config.line, config.machine) == (LineConfig("/dev/etc"), Profile(columns=71))
    assert config.answer == AnswerConfig(top_k=2, length=300, seed=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[answer]\ntop_k = 3\nlenght = 5\n",
            "config.toml:3: unknown key 'lenght' in [answer]; did you mean 'length'",
        ),
        ("[anwser]\n", "config.toml:1: unknown section [anwser]; did you mean 'answer'?"),
        (
            "[line]\n[printer]\n",
            "config.toml:2: unknown section [printer]; there are line, machine, model, answer, conversation, log",
        ),
        (
            "\nport = 1\n",
            "config.toml:2: 'port' is outside a section; the sections are line, machine, model, answer, ",
        ),
        ('[answer]\n\nlength = "long"\n', "config.toml:3: [answer] length: 'long' is not a whole number"),
        ("[answer]\nlength = true\n", "config.toml:2: [answer] length: True is not a whole number"),
        ("[line]\nport = 5\n", 'config.toml:2: [line] port: 5 is not a text in "quotes"'),
        ("[answer]\ntop_p = 3\n", "config.toml:2: [answer] top_p = 3: must be from 1e-06 to 1"),
        ("[answer\n", "config.toml: not TOML: "),
        ("[machine]\ncolums = 72\n", "config.toml:2: unknown key 'colums' in [machine]; did you mean 'columns'"),
        ("[machine]\ncolumns = 200\n", "config.toml:2: [machine] columns = 200: must be from 20 to 132"),
        ("[machine]\n\nwheel = 1963\n", 'config.toml:3: [machine] wheel: 1963 is not one of "1963", "1968"'),
        ('[machine]\ngentle = "yes"\n', "config.toml:2: [machine] gentle: 'yes' is neither true nor false"),
        ("[line]\nself_test = 1\n", "config.toml:2: [line] self_test: 1 is neither true nor false"),
        ("[line]\ncolumns = 72\n", "config.toml:2: no key 'columns' in [line]; it is in [machine] now"),
        ('[line]\nmarking = "yes"\n', 'config.toml:2: [line] marking: \'yes\' is not one of "auto", "on", "off"'),
        ('[machine]\nmotor = "command"\n', '[machine] motor = "command": set the commands motor_on and motor_off'),
    ],
)
def test_an_error_names_the_file_the_line_and_the_cure(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_file(tmp_path, text)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_only_if_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config({}, NOWHERE, tmp_path / "none.toml", system_folder=tmp_path)


def test_an_unknown_key_in_the_environment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$ASR33_ANSWER_LENGHT: unknown key 'lenght'"):
        load_config({}, NOWHERE | {"ASR33_ANSWER_LENGHT": "3"}, system_folder=tmp_path)


def test_an_unknown_section_in_the_environment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$ASR33_ANSWR_LENGTH: unknown section \[answr\]; did you mean 'answer'"):
        load_config({}, NOWHERE | {"ASR33_ANSWR_LENGTH": "3"}, system_folder=tmp_path)


def test_environment_values_get_the_type_of_their_field(tmp_path: Path) -> None:
    environ = NOWHERE | {"ASR33_MODEL_NAME": "355", "ASR33_ANSWER_TOP_P": "1", "ASR33_MODELS": "/models"}
    config = load_config({}, environ | {"ASR33_ANSWER_SEED": "5"}, system_folder=tmp_path)
    assert (config.model.name, config.answer.top_p, config.answer.seed) == ("355", 1.0, 5)


def test_a_text_for_a_number_in_the_environment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$ASR33_ANSWER_LENGTH: \[answer\] length: 'long' is not a whole number"):
        load_config({}, NOWHERE | {"ASR33_ANSWER_LENGTH": "long"}, system_folder=tmp_path)


def test_a_whole_number_is_accepted_for_a_number(tmp_path: Path) -> None:
    assert from_file(tmp_path, "[answer]\ntemperature = 1\n").answer.temperature == 1.0


def test_flags_are_checked_like_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be from 0 to"):
        load_config({"answer": {"temperature": -1.0}}, NOWHERE, system_folder=tmp_path)


def test_the_log_folder_is_the_setting_then_systemds_then_the_users(tmp_path: Path) -> None:
    config = from_file(tmp_path, f'[log]\nfolder = "{tmp_path}"\n')
    assert resolve_log_folder(config, {}) == tmp_path
    assert resolve_log_folder(Config(), {"LOGS_DIRECTORY": "/var/log/asr33"}) == Path("/var/log/asr33")
    assert resolve_log_folder(Config(), {"XDG_STATE_HOME": "/state"}) == Path("/state/asr33/sessions")


def test_machine_toml_is_read_after_config_toml_in_the_same_folder(tmp_path: Path) -> None:
    user = tmp_path / "user/asr33"
    user.mkdir(parents=True)
    profile = Profile("front room", columns=74, gentle=True, wheel="1963", motor_on='say "on"\\')
    (user / "machine.toml").write_text(profile_to_toml(profile))
    (user / "config.toml").write_text("[machine]\ncolumns = 70\ntravel_ms = 300\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    config = load_config({}, environ, system_folder=tmp_path)
    assert config.machine == Profile(
        "front room", columns=74, travel_ms=300, gentle=True, wheel="1963", motor_on='say "on"\\'
    )
    (tmp_path / "named.toml").write_text("[machine]\ncolumns = 86\n")
    named = load_config({}, environ, system_folder=tmp_path, machine_file=tmp_path / "named.toml")
    assert named.machine == Profile(columns=86, travel_ms=300)


def test_a_machine_file_may_have_only_the_machine_section(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[machine]\ncolumns = 72\n[answer]\nlength = 3\n")
    with pytest.raises(ConfigError, match=r"mine.toml:3: a file of a machine has no \[answer\]"):
        load_config({}, NOWHERE, system_folder=tmp_path, machine_file=path)


def test_the_environment_accepts_true_false_and_choices(tmp_path: Path) -> None:
    environ = NOWHERE | {"ASR33_LINE_SELF_TEST": "False", "ASR33_MACHINE_WHEEL": "1963", "ASR33_LINE_MARKING": "off"}
    config = load_config({}, environ, system_folder=tmp_path)
    assert (config.line.self_test, config.machine.wheel, config.line.break_is_marked) == (False, "1963", False)
    with pytest.raises(
        ConfigError, match=r"\$ASR33_LINE_RECONNECT: \[line\] reconnect: 'maybe' is neither true nor false"
    ):
        load_config({}, NOWHERE | {"ASR33_LINE_RECONNECT": "maybe"}, system_folder=tmp_path)


@given(
    st.builds(
        Profile,
        name=st.text(),
        columns=st.integers(20, 132),
        travel_ms=st.integers(0, 1000),
        gentle=st.booleans(),
        wheel=st.sampled_from(["1963", "1968"]),
        send_parity=st.sampled_from(["even", "mark", "space"]),
        duplex=st.sampled_from(["auto", "full", "half"]),
        auto_return=st.booleans(),
        answerback=st.booleans(),
        motor_idle_s=st.integers(1, 86_400),
    )
)
def test_every_profile_reads_back_from_its_file_unchanged(profile: Profile) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "machine.toml"
        path.write_text(profile_to_toml(profile), encoding="utf-8")
        assert load_config({}, NOWHERE, system_folder=Path(folder), machine_file=path).machine == profile
