"""What every test may rely on, however the suite was started."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# As asr33 itself does: on two cores with two workers, threads of numpy's products wait for each other and turn seconds
# into a minute. numpy reads it once, when it is first loaded; the processes that tests start decide for themselves.
with pytest.MonkeyPatch.context() as one_thread:
    one_thread.setenv("OPENBLAS_NUM_THREADS", "1")
    import numpy  # noqa: F401

# A suite in the background of a shell, or under nohup, starts with these ignored, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is slow, not wrong.
settings.register_profile("asr33", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("asr33")


# Begun first, so that no worker is left with one of them when the others have nothing more to do.
LONGEST_FILES = [
    "daemon_scarce_resources",
    "daemon_farewell",
    "damaged_models",
    "train_command",
    "cli_print_stream",
    "daemon_log_disk",
    "train_corpus",
    "bench_training_speed",
    "train_trainer",
    "cli_ask",
    "cli_demo",
    "cli_model_pull",
    "cli_errors",
    "bench_process",
    "corpus_cleaning_repeated_lines",
    "corpus_remove",
    "cli_punch",
    "corpus_importer_web_page",
    "bench_simulate_neighbours",
    "corpus_importer_whatsapp",
    "drivers_paper_laws",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}": number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(autouse=True, scope="session")
def _a_room_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tests apart from the daemons, settings and sessions of the user who runs them."""
    tmp_path_factory.getbasetemp()  # stays where it was
    # And not in there: the name of a Unix socket has a hundred characters, no more.
    with tempfile.TemporaryDirectory(prefix="asr33-tests-") as room, pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR"):
            folder = Path(room) / name.lower()
            folder.mkdir(mode=0o700)
            patch.setenv(name, str(folder))
        for name in [name for name in os.environ if name.startswith("ASR33_")] + [
            "RUNTIME_DIRECTORY",
            "LOGS_DIRECTORY",
        ]:
            patch.delenv(name, raising=False)
        patch.setattr(tempfile, "tempdir", str(Path(room) / "tmpdir"))
        yield
