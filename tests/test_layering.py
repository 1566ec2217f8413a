"""The architecture, read from the source by ast: who may import whom, which files are pure, what --help may load."""

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("daemon", "drivers", "model", "tools")
MAY_IMPORT = {
    "drivers": {"drivers"},
    "model": {"model"},
    "daemon": {"daemon", "drivers", "model"},
    "tools": {"tools", "daemon", "drivers", "model"},
}
PURE = [
    "drivers/text/charset.py",
    "drivers/text/control_sequences.py",
    "drivers/text/printer.py",
    "drivers/text/overstrike.py",
    "drivers/text/charset_table.py",
    "drivers/text/carriage.py",
    "drivers/input/receiver.py",
    "drivers/input/echo_canceller.py",
    "drivers/input/line_editor.py",
    "drivers/paper/glyphs.py",
    "drivers/input/keyboard.py",
    "drivers/input/noise_filter.py",
    "drivers/output/pacing.py",
    "drivers/paper/paper.py",
    "drivers/profile.py",
    "drivers/status.py",
    "drivers/tape.py",
    "drivers/tape_letters.py",
    "drivers/line/line_input.py",
    "drivers/line/telnet.py",
    "drivers/events.py",
    "drivers/virtual/mechanics.py",
    "drivers/virtual/answerback.py",
    "drivers/virtual/faults.py",
    "drivers/virtual/keyboard.py",
    "drivers/virtual/typing_unit.py",
    "drivers/virtual/tape.py",
    "drivers/virtual/teletype_sim.py",
    "drivers/virtual/current_loop.py",
    "model/interface.py",
    "model/generate/sampling.py",
    "model/generate/detokenizer.py",
    "model/generate/generate.py",
    "model/generate/context_window.py",
    "model/build/memorisation.py",
    "model/generate/prefix_cache.py",
    "model/generate/opening_mask.py",
    "model/generate/token_mask.py",
    "model/build/quantise/gptq.py",
    "model/build/fidelity.py",
    "model/build/quantise/quantise.py",
    "model/build/numpy_gpt2.py",
    "model/build/hub_repository.py",
    "model/build/quantise/quantise_model.py",
    "model/build/quantise/smoothquant.py",
    "model/build/gpt2_weights.py",
    "model/server/engine/slot_allocator.py",
    "model/openai_api/models.py",
    "model/server/engine/cost_model.py",
    "model/server/engine/counters.py",
    "model/server/engine/scheduler.py",
    "model/server/engine/engine_loop.py",
    "model/server/engine/sequence.py",
    "model/server_url.py",
    "model/printable.py",
    "model/client/token_estimate.py",
    "model/client/partial_answer.py",
    "model/openai_api/fields.py",
    "model/openai_api/request.py",
    "model/openai_api/chat_request.py",
    "model/openai_api/chat_response.py",
    "model/openai_api/sse.py",
    "model/client/server_health.py",
    "model/openai_api/response.py",
    "model/server/caller_queue.py",
    "model/server/metrics.py",
    "model/server/say_request.py",
    "model/dialogue.py",
    "model/opening.py",
    "model/words.py",
    "daemon/archive/answer_code.py",
    "daemon/bridges/irc/chat_room.py",
    "daemon/bridges/chat_text.py",
    "daemon/bridges/irc/flood_guard.py",
    "daemon/bridges/irc/irc_client.py",
    "daemon/bridges/irc/irc_message.py",
    "daemon/bridges/irc/loop_guard.py",
    "daemon/bridges/irc/registration.py",
    "daemon/bridges/irc/send_queue.py",
    "daemon/bridges/mentions/mention.py",
    "daemon/bridges/mentions/mention_rules.py",
    "daemon/bridges/mentions/oauth1.py",
    "daemon/bridges/mentions/post_text.py",
    "daemon/bridges/mqtt/discovery.py",
    "daemon/bridges/mqtt/note.py",
    "daemon/archive/turn_spans.py",
    "daemon/conversation.py",
    "daemon/duologue.py",
    "daemon/guess_game.py",
    "daemon/control/protocol.py",
    "daemon/spool/budget.py",
    "daemon/spool/job.py",
    "daemon/spool/layout.py",
    "daemon/spool/order.py",
    "daemon/spool/paper_supply.py",
    "daemon/spool/quiet_hours.py",
    "daemon/spool/report.py",
    "daemon/spool/rules.py",
    "daemon/spool/spool.py",
    "daemon/spool/state.py",
    "daemon/commands.py",
    "daemon/web/access.py",
    "tools/bench/load/figures.py",
    "tools/bench/load/chart.py",
    "tools/bench/load/max_clients.py",
    "tools/bench/load/user.py",
    "tools/bench/load/vocabulary.py",
    "tools/bench/load/print_buffer.py",
    "tools/bench/simulate/scenario.py",
    "tools/bench/simulate/engine_costs.py",
    "tools/bench/simulate/cluster.py",
    "tools/bench/simulate/reconnect_storm.py",
    "tools/bench/simulate/replica.py",
    "tools/bench/simulate/ray_policies.py",
    "tools/bench/simulate/client.py",
    "tools/doctor/catalogue.py",
    "tools/doctor/finding.py",
    "tools/doctor/daemon_findings.py",
    "tools/doctor/line_findings.py",
    "tools/doctor/model_findings.py",
    "tools/doctor/system_findings.py",
    "tools/doctor/message_templates.py",
    "tools/log/readings.py",
    "tools/log/recording.py",
    "tools/log/redaction.py",
    "tools/log/formats/asciicast.py",
    "tools/corpus/anonymise.py",
    "tools/corpus/decoding/byte_signatures.py",
    "tools/corpus/formats/chat_lines.py",
    "tools/corpus/tables/cell_texts.py",
    "tools/corpus/tables/column_names.py",
    "tools/corpus/tables/column_profile.py",
    "tools/corpus/tables/csv_format.py",
    "tools/corpus/tables/csv_rows.py",
    "tools/corpus/tables/csv_separators.py",
    "tools/corpus/dates.py",
    "tools/corpus/decoding/encoding_guess.py",
    "tools/corpus/decoding/letter_frequencies.py",
    "tools/corpus/fields.py",
    "tools/corpus/html_text.py",
    "tools/corpus/markdown_text.py",
    "tools/corpus/formats/markup_kinds.py",
    "tools/corpus/formats/prose.py",
    "tools/corpus/statistics.py",
    "tools/corpus/formats/message_formats.py",
    "tools/corpus/metadata.py",
    "tools/corpus/record.py",
    "tools/corpus/rendering.py",
    "tools/corpus/tables/table_layout.py",
    "tools/corpus/tables/table_roles.py",
    "tools/corpus/cleaning/divided_words.py",
    "tools/corpus/cleaning/counts.py",
    "tools/corpus/cleaning/deduplicate.py",
    "tools/corpus/cleaning/gutenberg.py",
    "tools/corpus/cleaning/library_notices.py",
    "tools/corpus/cleaning/links.py",
    "tools/corpus/cleaning/mojibake.py",
    "tools/corpus/cleaning/repeated_lines.py",
    "tools/corpus/cleaning/running_heads.py",
    "tools/corpus/cleaning/social_noise.py",
    "tools/corpus/importers/registry.py",
    "tools/corpus/cleaning/page_layout.py",
    "tools/corpus/cleaning/people.py",
    "tools/corpus/cleaning/step.py",
    "tools/corpus/cleaning/steps.py",
    "tools/corpus/importers/messenger_content.py",
    "tools/corpus/importers/signal_message.py",
    "tools/corpus/importers/slack_text.py",
    "tools/corpus/importers/tweets_notes.py",
    "tools/corpus/importers/whatsapp_content.py",
    "tools/corpus/importers/whatsapp_dates.py",
]
IMPURE = {"asyncio", "logging", "os", "pathlib", "random", "socket", "subprocess", "sys", "threading", "time", "rich"}
# Each foreign library has one door (torch has a folder).
DOORS = {
    "serial": {"drivers/line/line.py"},
    "serial_asyncio": {"drivers/line/line.py"},
    "onnxruntime": {"model/onnx/runtime.py"},
    "onnx": {
        "model/build/graph.py",
        "model/build/onnx_io.py",
        "model/build/graph_builder.py",
        "model/server/engine/batched_session.py",  # only a copy on a GPU needs it
    },
    "tokenizers": {"model/onnx/tokenizer.py"},
    "cattrs": {"daemon/config_parser.py"},
    "httpx2": {"model/client/http_client.py", "model/build/hub_client.py"},
    "PIL": {"drivers/paper/paper_png.py"},
    "starlette": {
        "model/server/app.py",
        "model/server/completion_response.py",
        "model/server/cors.py",
        "model/server/limits.py",
        "model/server/refusals.py",
        "model/server/middleware.py",
        "model/server/say_endpoint.py",
        "model/server/say_response.py",
        "daemon/web/app.py",
        "daemon/web/say_page.py",
    },
    "uvicorn": {"model/server/http/server.py"},
    "h11": {"model/server/http/server.py", "model/server/http/request_parser.py"},
    "huggingface_hub": {"model/build/hub_client.py"},
    "ray": {"model/server/ray_cluster.py"},
    "sqlite3": {
        "daemon/archive/session_index.py",
        "tools/corpus/importers/signal_database.py",  # the database of another program
        "tools/corpus/importers/signal_schema.py",
        "tools/corpus/threads.py",
    },
    "aiomqtt": {"daemon/bridges/mqtt/broker.py"},
    "paho": {"daemon/bridges/mqtt/broker.py"},
    "pypdf": {"tools/corpus/importers/pdf.py"},
    "ctranslate2": {"tools/bench/peers/ctranslate2_runner.py"},
    "llama_cpp": {"tools/bench/peers/llama_runner.py"},
}


# The floors of each package, lowest first: a folder or module imports from its own floor and from lower ones only.
FLOORS = {
    "drivers": [
        "errors clock profile events status",
        "paper",
        "text",
        "line",
        "output",
        "input",
        "tape tape_letters",
        "teletype",
        "tape_units",
    ],
    "model": [
        "errors interface server_url dialogue opening printable words log_format engine_errors",
        "store",
        "onnx",
        "generate",
        "openai_api",
        "client server.engine",
        "server",
        "server.http",
    ],
    "daemon": [
        "errors people paths log_file log_writer privacy system_clock lease_queue spool bridge_config",
        "config config_parser conversation commands archive session_log log_retention line_connection model_factory",
        "observers copied_mark exchange duologue guess_game farewell tape_memory answer_log answer_header ink "
        "carbon_copy copy_sinks spool.open_spool",
        "tape_prompt turns machine_address model_choice saved_conversations web.access",
        "talk_commands duologue_commands guess_commands visit",
        "session_commands",
        "session",
        "control systemd web bridges",
        "bridge_tasks",
        "build",
    ],
}
# These stand beside the floors: the only parts of the package that they may import.
BESIDE = {
    "drivers.virtual": "errors clock profile paper text line.line_input",
    "model.build": "errors engine_errors interface words store onnx generate",
}
# Adapters of one protocol, chosen by name at run time.
SAME_NAME_ALLOWED = {"Runner"}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sources()}


@cache
def modules_imported(module: str) -> set[str]:
    """The modules of this repository that a module imports, at its top or in a function."""
    found: set[str] = set()
    for node in ast.walk(parse(MODULES[module])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in MODULES else node.module for name in names)
    return {name for name in found if name in MODULES and name != module}


@cache
def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def floor_of(package: str, module: str) -> int | None:
    """The floor that a module stands on, by the longest name that fits; None beside the floors."""
    heights = {f"{package}.{name}": height for height, names in enumerate(FLOORS[package]) for name in names.split()}
    fitting = [name for name in heights if module == name or module.startswith(f"{name}.")]
    return heights[max(fitting, key=len)] if fitting else None


@pytest.mark.parametrize("package", FLOORS)
def test_no_module_imports_from_a_higher_floor(package: str) -> None:
    wrong = []
    for module in (name for name in MODULES if name.startswith(f"{package}.")):
        floor = floor_of(package, module)
        beside = next((name for name in BESIDE if module.startswith(name)), None)
        assert floor is not None or beside, f"{module} has no floor"
        for other in (name for name in modules_imported(module) if name.startswith(f"{package}.")):
            if beside:
                allowed = [f"{package}.{name}" for name in BESIDE[beside].split()] + [beside]
                ok = any(other == name or other.startswith(f"{name}.") for name in allowed)
            else:
                height = floor_of(package, other)
                ok = height is not None and floor is not None and height <= floor
            if not ok:
                wrong.append(f"{module} -> {other}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: modules_imported(module) for module in MODULES}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"in a circle, or above one: {sorted(left)}"


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    shared = {name: modules for name, modules in homes.items() if len(modules) > 1 and name not in SAME_NAME_ALLOWED}
    assert not shared


@pytest.mark.parametrize("folder", sorted({str(path.parent.relative_to(ROOT)) for path in sources()}))
def test_every_folder_says_what_it_does(folder: str) -> None:
    doc = ast.get_docstring(parse(ROOT / folder / "__init__.py"))
    assert doc, "one sentence: what the folder does, and what it does not know"
    assert doc.split("\n")[0].endswith(".")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_arrows_point_one_way(package: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(crossed)
        for path in (ROOT / package).rglob("*.py")
        if (crossed := imported(path) & set(PACKAGES) - MAY_IMPORT[package])
    }
    assert not wrong


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_knows_no_clock_no_thread_and_no_world(name: str) -> None:
    tree = parse(ROOT / name)
    assert not imported(ROOT / name) & IMPURE
    assert (
        not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))
        or name == "model/interface.py"
    )


@pytest.mark.parametrize("library", DOORS)
def test_each_foreign_library_has_one_door(library: str) -> None:
    doors = {str(path.relative_to(ROOT)) for path in sources() if library in imported(path)}
    assert doors <= DOORS[library]


def test_torch_is_known_to_training_and_to_the_peers_that_need_it() -> None:
    users = {path.relative_to(ROOT).parts for path in sources() if "torch" in imported(path)}
    peers = {("tools", "bench", "peers", name) for name in ("transformers_runner.py", "training_runners.py")}
    assert all(parts[:2] == ("tools", "train") or parts in peers for parts in users)


def modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


def test_a_bare_help_loads_nothing_heavy() -> None:
    loaded = modules_after(
        "import contextlib, io\nfrom tools.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(['--help'])"
    )
    assert not loaded & {
        "numpy",
        "onnxruntime",
        "onnx",
        "tokenizers",
        "torch",
        "rich",
        "httpx2",
        "serial",
        "asyncio",
        "PIL",
    }


def test_a_session_runs_without_onnx_and_torch() -> None:
    assert not modules_after("import model.generate.local_model, model.onnx.session, model.build.bits_per_byte") & {
        "onnx",
        "torch",
        "safetensors",
    }


def test_an_answer_needs_no_event_loop() -> None:
    """It would take a fifth of the time to the first word."""
    loaded = modules_after("from tools.main import main\nmain(['ask', 'The', '--max-tokens', '1'])")
    assert {"numpy", "onnxruntime", "tokenizers"} <= loaded
    assert not loaded & {"asyncio", "ssl", "onnx", "rich"}


def test_a_session_loads_no_spool_and_no_bridge() -> None:
    loaded = modules_after("import daemon.build")
    assert not {name for name in loaded if name.startswith(("daemon.bridges", "daemon.spool.desk", "daemon.web"))}
    loaded = modules_after("import daemon.bridge_tasks")
    assert not {name for name in loaded if name.startswith("daemon.bridges.irc")}


def test_the_thin_client_loads_neither_numpy_nor_an_engine() -> None:
    assert not modules_after("import daemon.build, tools.run") & {"numpy", "onnxruntime", "tokenizers", "onnx", "torch"}


def test_every_package_is_installed() -> None:
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in sources()}
    there = {name for name in there if not name.startswith("tools.bench.simulate")}  # needs a checkout
    there.add("tools.install.files")  # the folder systemd/
    assert sorted(there) == tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]


def test_no_file_is_over_three_hundred_lines() -> None:
    assert not [str(path) for path in sources() if len(path.read_text().splitlines()) > 300]
