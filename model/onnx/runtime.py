"""One graph in onnxruntime: its inputs, outputs and device. No other module imports onnxruntime.

It does not know what the tensors mean; the sessions do.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

# Without this, onnxruntime 1.31 starts a thread at its import that records its use for its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Tiled attention on the CPU saves memory beyond many thousand tokens. Up to 1,024 tokens the plain form takes 2 to 15%
# less time for a prefill chunk, and up to 11% less for a decode step (124M, 8 bits, 1.31). There is no option for it.
os.environ.setdefault("ORT_GQA_DISABLE_FLASH_ATTENTION", "1")
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from model.engine_errors import engine_error_for
from model.errors import EngineFailed, EngineMissing, ModelDamaged, ModelNotFound
from model.interface import DeviceChoice, GPT2Config
from model.onnx import cpu, graph_check

Device = Literal["cpu", "cuda"]

EXECUTION_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
SPIN_US = "30"  # a thread that waits longer within a step sleeps: the printer's clock may need its core
MAX_WEIGHTS_PER_BYTE = 4  # of two bits; asr33 itself stores at least four
LOG_FATAL = 4  # onnxruntime's own log level: errors arrive as exceptions
REINSTALL_GPU = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install '.[gpu]'"
# Words in the messages about a file that needs a newer onnxruntime.
_NEWER_VERSION_WORDS = ("opset", "IR version", "is not a registered function/op", "No Op registered")
# Messages of onnxruntime begin with codes and places in its source.
_ERROR_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE_PLACE = re.compile(r"(/onnxruntime_src/)?[\w/]+\.(cc|cpp|h):\d+ (\w+ (?=[A-Z])|.*?\) (?=[A-Z\"']|\w+\.cc:))")
_OUT_OF_MEMORY_WORDS = ("Failed to allocate", "bad_alloc", "bad allocation")

_ORT_ERRORS = (
    faults.EPFail,
    faults.EngineError,
    faults.Fail,
    faults.InvalidArgument,
    faults.InvalidGraph,
    faults.InvalidProtobuf,
    faults.NoModel,
    faults.NotFound,
    faults.NotImplemented,
    faults.RuntimeException,
    UnicodeDecodeError,  # raised for its own message, if that quotes a damaged file
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Type and dimensions of an input or output; an open dimension is a name or None."""

    onnx_type: str
    dims: tuple[int | str | None, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Raises ModelDamaged for a type that no array has."""
        name = self.onnx_type.replace("double", "float64").replace("tensor(float)", "tensor(float32)")
        try:
            return np.dtype(name[7:-1])
        except TypeError:
            raise ModelDamaged(f"a {self.onnx_type} is nothing that asr33 can give a model") from None


class OnnxModel:
    """A graph that is ready to run. `device_label` names the device for the user."""

    def __init__(self, model: Path | bytes, *, threads: int = 0, device: DeviceChoice = "auto") -> None:
        """Checks and opens the graph. `threads` 0 means the number of `model.onnx.cpu`; `device` auto means CUDA, if it
        works.

        Raises ModelNotFound, ModelDamaged, EngineFailed if memory or threads do not suffice, and EngineMissing if
        onnxruntime cannot use the device.
        """
        self.name = "the model" if isinstance(model, bytes) else str(model)
        self.weights = graph_check.check_graph(model)
        threads = threads or cpu.thread_count()
        options, problem = _session_options(threads), ""
        self.device: Device
        if device == "auto":
            self._ort_session, self.device, problem = _open_best(model, self.name, options)
        else:
            self._ort_session, self.device = _open_ort_session(model, self.name, options, device), device
        on_cpu = f"CPU, {threads} {'thread' if threads == 1 else 'threads'}" + (f" ({problem})" if problem else "")
        self.device_label = "CUDA" if self.device == "cuda" else on_cpu
        try:
            self.inputs = _tensor_infos(self._ort_session.get_inputs())
            self.outputs = _tensor_infos(self._ort_session.get_outputs())
            self.metadata: Mapping[str, str] = self._ort_session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise _load_error(self.name, self.device, error) from None
        self.binding = self._ort_session.io_binding()

    def require_weights_for(self, shape: GPT2Config) -> None:
        """Raises ModelDamaged if the graph has too few bytes of weights for this shape, however it stores them."""
        if shape.parameters // MAX_WEIGHTS_PER_BYTE > (there := self.weights.total_bytes):
            raise ModelDamaged(f"{self.name}: {there:,} bytes of weights are too few for {shape}; fetch it again")

    def ort_value(self, array: NDArray[Any]) -> ort.OrtValue:
        """A view of the array's memory; the caller must keep the array. A GPU copies it when it is bound."""
        return ort.OrtValue.ortvalue_from_numpy(array)

    def ort_value_on_device(self, array: NDArray[Any]) -> ort.OrtValue:
        """The array on the graph's device: a view on the CPU, a copy on a GPU."""
        return ort.OrtValue.ortvalue_from_numpy(array, *(() if self.device == "cpu" else (self.device, 0)))

    def allocate_zeros(self, size: Sequence[int], dtype: np.dtype[Any]) -> tuple[NDArray[Any] | None, ort.OrtValue]:
        """Zeros on the graph's device; on the CPU also the array that owns their memory."""
        try:
            zeros = np.zeros(size, dtype)
            return (zeros if self.device == "cpu" else None), self.ort_value_on_device(zeros)
        except (MemoryError, *_ORT_ERRORS, RuntimeError) as error:
            raise _resource_error(self.name, error) from None

    def bind_slice(
        self, buffer: ort.OrtValue, first: int, count: int, *, input_name: str = "", output_name: str = ""
    ) -> None:
        """Binds the part [count, ...] from index `first` of a buffer on the device, as an input, an output, or both."""
        size = buffer.shape()
        dtype = (self.inputs[input_name] if input_name else self.outputs[output_name]).dtype
        part = (self.device, 0, dtype, [count, *size[1:]])
        address = buffer.data_ptr() + first * math.prod(size[1:]) * dtype.itemsize
        if input_name:
            self.binding.bind_input(input_name, *part, address)
        if output_name:
            self.binding.bind_output(output_name, *part, address)

    def run(self) -> None:
        """Runs the graph with the bound tensors. Raises ModelDamaged, and EngineFailed if memory does not suffice."""
        try:
            self._ort_session.run_with_iobinding(self.binding)
        except (MemoryError, *_ORT_ERRORS, RuntimeError) as error:
            if isinstance(error, MemoryError) or any(word in str(error) for word in _OUT_OF_MEMORY_WORDS):
                raise EngineFailed(f"{self.name}: too little memory to run it; free some, or ask for less") from None
            raise ModelDamaged(f"{self.name}: it cannot be run ({_first_line(error)}); fetch it again") from None


def _tensor_infos(entries: Sequence[Any]) -> dict[str, TensorInfo]:
    return {entry.name: TensorInfo(entry.type, tuple(entry.shape)) for entry in entries}


def _open_best(model: Path | bytes, name: str, options: ort.SessionOptions) -> tuple[ort.InferenceSession, Device, str]:
    """Opens the graph on a GPU, else on the CPU; the text says why a GPU was present but failed."""
    problem = ""
    if EXECUTION_PROVIDERS["cuda"] in ort.get_available_providers():
        try:
            return _open_ort_session(model, name, options, "cuda"), "cuda", problem
        except (EngineMissing, EngineFailed) as error:
            problem = str(error)
    return _open_ort_session(model, name, options, "cpu"), "cpu", problem


def _open_ort_session(
    model: Path | bytes, name: str, options: ort.SessionOptions, device: Device
) -> ort.InferenceSession:
    ort.set_default_logger_severity(LOG_FATAL)
    missing = _prepare_cuda() if device == "cuda" else ""
    devices: list[Device] = ["cpu"] if device == "cpu" else [device, "cpu"]
    wanted = [EXECUTION_PROVIDERS[choice] for choice in devices]
    try:
        source = model if isinstance(model, bytes) else str(model)
        # The library's own fallback prints four lines on standard output, and hides the first error.
        session = ort.InferenceSession(source, options, providers=wanted, enable_fallback=False)
    except faults.NoSuchFile:
        raise ModelNotFound(f"{name}: no such file; see what there is with: asr33 model list") from None
    except _ORT_ERRORS as error:
        raise _load_error(name, device, error) from None
    except (MemoryError, RuntimeError) as error:
        raise _resource_error(name, error) from None
    # Only this list tells that a provider failed.
    if (actual := session.get_providers())[0] != wanted[0]:
        cure = REINSTALL_GPU if device == "cuda" else "pip install '.[cpu]' again"
        raise EngineMissing(f"asked for {wanted[0]}, got {', '.join(actual)}{missing and f' ({missing})'}: {cure}")
    return session


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    # The default number would tie each thread to a core, and the printer's clock may need that core.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # A step has some hundred parallel operations. A thread that sleeps between two of them starts late, and the step
    # takes half as long again: 172 steps a second instead of 259 (124M, 8 bit, two threads), with more CPU time.
    # Threads do not spin between steps.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # 1 selects an exact sum of int8 products, at half the speed.
    options.add_session_config_entry("session.x64quantprecision", str(int(cpu.int8_saturates())))
    # Without this, a file that begins like onnxruntime's own format would be read as that, past `graph_check`.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # This fusion replaces three fast nodes by a slower one.
    options.add_session_config_entry("optimization.disable_specified_optimizers", "SkipLayerNormFusion")
    return options


def _prepare_cuda() -> str:
    """Loads CUDA's libraries; returns a line about missing ones. Raises EngineMissing if no GPU can be used."""
    if EXECUTION_PROVIDERS["cuda"] not in ort.get_available_providers():
        raise EngineMissing(f"asked for CUDA, but this onnxruntime is for the CPU alone: {REINSTALL_GPU}")
    if not (count := _count_gpus()):
        problem = "no NVIDIA driver is installed here" if count is None else "the NVIDIA driver finds no GPU here"
        raise EngineMissing(f"asked for CUDA, but {problem}: take the CPU, or another machine")
    with contextlib.redirect_stdout(io.StringIO()) as output:  # onnxruntime prints the missing libraries
        ort.preload_dlls()
    return _first_line(output.getvalue())


def _count_gpus() -> int | None:
    """Number of GPUs that the NVIDIA driver has; None without a driver."""
    import ctypes  # slow to load, and seldom needed

    count = ctypes.c_int(0)
    for name in ("libcuda.so.1", "nvcuda.dll"):
        with contextlib.suppress(OSError):
            driver = ctypes.CDLL(name)
            return 0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value
    return None


def _load_error(name: str, device: Device, error: Exception) -> ModelDamaged | EngineFailed:
    message = _first_line(error)
    if any(word in str(error) for word in _OUT_OF_MEMORY_WORDS):
        return _resource_error(name, error)
    if device == "cuda" and "CUDA" in message:
        return EngineFailed(f"{name}: the GPU cannot take it ({message}); free its memory, or run it on the CPU")
    if any(word in message for word in _NEWER_VERSION_WORDS):
        return ModelDamaged(f"{name}: made for a newer onnxruntime than {ort.__version__} ({message}); install that")
    return ModelDamaged(f"{name}: onnxruntime cannot load it ({message}); fetch it again")


def _resource_error(name: str, error: Exception) -> EngineFailed:
    if (known := engine_error_for(error)) is not None:
        return EngineFailed(f"{name}: {known}")
    problem = _first_line(error) or "too little memory"
    return EngineFailed(f"{name}: this machine cannot load it ({problem}); free memory, or give fewer --threads")


def _first_line(error: Exception | str) -> str:
    """The first line without control characters: a damaged file may contain any name."""
    text = error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else str(error)
    line = _SOURCE_PLACE.sub("", _ERROR_CODE.sub("", text.strip().partition("\n")[0]))
    return "".join(char if char.isprintable() else "?" for char in line)
