"""Judges the engine, the models on this disk and the model servers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tools.doctor.finding import Examination, Unread, conclude, make_finding, not_examined

CPU_PACKAGE, GPU_PACKAGE = "onnxruntime", "onnxruntime-gpu"
INSTALL_CPU = "pip install '.[cpu]'"
REINSTALL_GPU = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install '.[gpu]'"
NO_GPU = Unread("no NVIDIA GPU is in this computer")

ServerOutcome = Literal["answers", "login page", "unreachable", "foreign", "denied", "model absent"]
KeyState = Literal["none", "usable", "unusable"]


@dataclass(frozen=True, slots=True)
class EngineReading:
    """`packages`: installed ones of the two; `is_empty`: the module's folder has no code.

    `gpu`: where the kernel shows an NVIDIA GPU, or "". `gpu_error`: why the model cannot use it, "" if it can.
    """

    packages: tuple[str, ...]
    is_empty: bool
    gpu: str = ""
    gpu_error: str | Unread = NO_GPU


@dataclass(frozen=True, slots=True)
class ModelFilesReading:
    """`error`: why the files cannot be used, or ""; `is_absent`: because the model is not there."""

    name: str
    folder: str = ""
    error: str = ""
    is_absent: bool = False


@dataclass(frozen=True, slots=True)
class ServerReading:
    """How one server answered; `message`: one line with the reason. `key_file`: "" if none is configured."""

    url: str
    outcome: ServerOutcome
    message: str = ""
    has_key: bool = False
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class KeyFileReading:
    """The file of the API key; `error`: why it has no key, `others_may_read`: by its permissions."""

    path: str
    error: str = ""
    others_may_read: bool = False


def examine_engine(reading: EngineReading | Unread) -> list[Examination]:
    if isinstance(reading, Unread):
        return [not_examined("engine", "", reading.why), not_examined("GPU", "", reading.why)]
    findings, installed = [], ", ".join(reading.packages) or "none"
    if len(reading.packages) > 1:
        sentence = "onnxruntime and onnxruntime-gpu are both installed: each overwrites the other's files"
        findings.append(make_finding("onnxruntime-twice", sentence, REINSTALL_GPU))
    elif reading.is_empty:
        sentence = "onnxruntime is an empty folder, as the removal of one of its two packages leaves it"
        package = reading.packages[0] if reading.packages else CPU_PACKAGE
        findings.append(make_finding("onnxruntime-empty", sentence, f"pip install --force-reinstall {package}"))
    elif not reading.packages:
        sentence = "the model is on this computer, and onnxruntime is not installed"
        findings.append(make_finding("engine-absent", sentence, INSTALL_CPU))
    return [conclude("engine", "", f"packages of onnxruntime: {installed}", findings), _examine_gpu(reading)]


def _examine_gpu(reading: EngineReading) -> Examination:
    if isinstance(reading.gpu_error, Unread):
        return not_examined("GPU", "", reading.gpu_error.why)
    finding = None
    if reading.gpu_error:
        cure = REINSTALL_GPU if "driver" not in reading.gpu_error else "nvidia-smi"
        sentence = f"an NVIDIA GPU is here ({reading.gpu}), and the model cannot use it: {reading.gpu_error}"
        finding = make_finding("gpu-unused", sentence, cure)
    return conclude("GPU", reading.gpu, "the embedded model was opened on the GPU", [finding])


def examine_model_files(reading: ModelFilesReading) -> Examination:
    name = reading.name
    if not reading.error:
        return conclude("model files", name, f"every byte of {reading.folder}, by its hash")
    if reading.is_absent:
        finding = make_finding("model-absent", f"the model {name} is not here: {reading.error}", "asr33 model list")
        return conclude("model files", name, "the names of the models on this disk", [finding])
    cure = f"asr33 model pull {name}"
    if name == "embedded":
        cure = "pip install --force-reinstall --no-deps ."
    finding = make_finding("model-damaged", f"the model {name} is damaged: {reading.error}", cure)
    return conclude("model files", name, f"the files of {reading.folder}", [finding])


def examine_server(reading: ServerReading, config_file: str) -> Examination:
    """`config_file`: where the server's URL and key are set."""
    url, edit = reading.url, f"sudoedit {config_file}   # [model]"
    base_url = url.partition("#")[0].rstrip("/").removesuffix("/v1")
    match reading.outcome:
        case "answers":
            finding = None
        case "login page":
            sentence = f"a page of the network answers in place of {base_url}: {reading.message}"
            finding = make_finding("server-login-page", sentence, f"curl -L {base_url}   # then log in with a browser")
        case "unreachable":
            finding = make_finding("server-unreachable", reading.message, f"curl {base_url}/health")
        case "denied" if reading.has_key:
            finding = make_finding("server-key-refused", reading.message, f"sudoedit {reading.key_file or config_file}")
        case "denied":
            finding = make_finding("server-key-missing", reading.message, f"{edit} key_file")
        case "model absent":
            finding = make_finding("server-model-absent", reading.message, f"curl {base_url}/v1/models")
        case "foreign":
            finding = make_finding("server-foreign", reading.message, f"{edit} name")
    key = "with the key" if reading.has_key else "without a key"
    return conclude("model server", url, f"/health without a key, then /v1/models {key}", [finding])


def examine_key_file(reading: KeyFileReading) -> Examination:
    finding = None
    if reading.error:
        finding = make_finding("server-key-file", reading.error, f"sudoedit {reading.path}")
    elif reading.others_may_read:
        sentence = f"other users of this computer can read the key in {reading.path}"
        finding = make_finding("server-key-readable", sentence, f"chmod go= {reading.path}")
    return conclude("key file", reading.path, "its content and its permissions", [finding])
