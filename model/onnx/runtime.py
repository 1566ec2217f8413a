"""One graph as onnxruntime has loaded it: what it takes and gives, where it runs; the only file that knows onnxruntime.

Of what the tensors mean it knows nothing: that is for the sessions to know.
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

# Else 1.31 begins a thread at its import that writes down what it is used for, to send it to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Attention on the CPU in tiles saves memory in texts of many thousand tokens; up to 1,024 the plain way takes
# 2 to 15% less for a piece of a prompt, and up to 11% less for a step (124M, 8 bits, 1.31). There is no option for it.
os.environ.setdefault("ORT_GQA_DISABLE_FLASH_ATTENTION", "1")
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from model.errors import EngineFailed, EngineMissing, ModelDamaged, ModelNotFound
from model.interface import DeviceChoice
from model.onnx import cpu

Device = Literal["cpu", "cuda"]

EXECUTION_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
SPIN_US = "30"  # a thread that waits longer within a step sleeps: the core may be wanted by the wheel
LOG_FATAL = 4  # onnxruntime's own log level; what matters comes as an exception
REINSTALL_GPU = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install '.[gpu]'"
# What onnxruntime says of a file that only a later one can read.
_NEWER_VERSION_WORDS = ("opset", "IR version", "is not a registered function/op", "No Op registered")
# Its messages have codes and places in its own source before what they say.
_ERROR_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE_PLACE = re.compile(r"(/onnxruntime_src/)?[\w/]+\.(cc|cpp|h):\d+ (\w+ (?=[A-Z])|.*?\) (?=[A-Z\"']|\w+\.cc:))")
_OUT_OF_MEMORY_WORDS = ("Failed to allocate", "bad_alloc", "bad allocation")  # of memory

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
    UnicodeDecodeError,  # of its own message, where that names what is damaged
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a graph takes or gives, in its own words; a dimension that it leaves open is a name or None."""

    onnx_type: str
    dims: tuple[int | str | None, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Raises ModelDamaged for what no array can hold."""
        try:
            return np.dtype(
                self.onnx_type.replace("double", "float64").replace("tensor(float)", "tensor(float32)")[7:-1]
            )
        except TypeError:
            raise ModelDamaged(f"a {self.onnx_type} is nothing that asr33 can give a model") from None


class OnnxModel:
    """A graph, ready to run. `device` is where; `provider` says it to a person."""

    def __init__(self, model: Path | bytes, *, threads: int = 0, device: DeviceChoice = "auto") -> None:
        """`threads` 0 leaves the choice to `model.onnx.cpu`; `provider` auto takes CUDA where there is some.

        Raises ModelNotFound, ModelDamaged, EngineFailed where memory or threads do not suffice, and EngineMissing
        where onnxruntime cannot use what was asked for.
        """
        self.name = "the model" if isinstance(model, bytes) else str(model)
        threads = threads or cpu.thread_count()
        why = ""
        self.device: Device
        if device == "auto":
            self._ort_session, self.device, why = _open_best(model, self.name, _session_options(threads))
        else:
            self._ort_session, self.device = (
                _open_ort_session(model, self.name, _session_options(threads), device),
                device,
            )
        on_cpu = f"CPU, {threads} {'thread' if threads == 1 else 'threads'}" + (f" ({why})" if why else "")
        self.device_label = "CUDA" if self.device == "cuda" else on_cpu
        try:
            self.inputs = {
                entry.name: TensorInfo(entry.type, tuple(entry.shape)) for entry in self._ort_session.get_inputs()
            }
            self.outputs = {
                entry.name: TensorInfo(entry.type, tuple(entry.shape)) for entry in self._ort_session.get_outputs()
            }
            self.metadata: Mapping[str, str] = self._ort_session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise _load_error(self.name, self.device, error) from None
        self.binding = self._ort_session.io_binding()

    def ort_value(self, array: NDArray[Any]) -> ort.OrtValue:
        """The array's own memory, as onnxruntime sees it: keep the array. What runs elsewhere copies it when bound."""
        return ort.OrtValue.ortvalue_from_numpy(array)

    def ort_value_on_device(self, array: NDArray[Any]) -> ort.OrtValue:
        """The array where the graph runs: its own memory on the CPU, a copy on a GPU."""
        return ort.OrtValue.ortvalue_from_numpy(array, *(() if self.device == "cpu" else (self.device, 0)))

    def allocate_zeros(self, size: Sequence[int], dtype: np.dtype[Any]) -> tuple[NDArray[Any] | None, ort.OrtValue]:
        """Zeros that stay where the graph runs, and the array that holds their memory, if it is the CPU's."""
        try:
            zeros = np.zeros(size, dtype)
            return (zeros if self.device == "cpu" else None), self.ort_value_on_device(zeros)
        except (MemoryError, *_ORT_ERRORS, RuntimeError) as error:
            raise _resource_error(self.name, error) from None

    def bind_slice(
        self, buffer: ort.OrtValue, first: int, count: int, *, input_name: str = "", output_name: str = ""
    ) -> None:
        """Of a resident buffer the part [count, ...] from `first` on: what goes in as `taken`, comes out as `given`."""
        size = buffer.shape()
        dtype = (self.inputs[input_name] if input_name else self.outputs[output_name]).dtype
        part = (self.device, 0, dtype, [count, *size[1:]])
        address = buffer.data_ptr() + first * math.prod(size[1:]) * dtype.itemsize
        if input_name:
            self.binding.bind_input(input_name, *part, address)
        if output_name:
            self.binding.bind_output(output_name, *part, address)

    def run(self) -> None:
        """Run what is bound. Raises ModelDamaged, and EngineFailed where memory does not suffice."""
        try:
            self._ort_session.run_with_iobinding(self.binding)
        except (MemoryError, *_ORT_ERRORS, RuntimeError) as error:
            if isinstance(error, MemoryError) or any(word in str(error) for word in _OUT_OF_MEMORY_WORDS):
                raise EngineFailed(f"{self.name}: too little memory to run it; free some, or ask for less") from None
            raise ModelDamaged(f"{self.name}: it cannot be run ({_first_line(error)}); fetch it again") from None


def _open_best(model: Path | bytes, name: str, options: ort.SessionOptions) -> tuple[ort.InferenceSession, Device, str]:
    """On a GPU where that can be, else on the CPU, and why if a GPU was to be expected."""
    why = ""
    if EXECUTION_PROVIDERS["cuda"] in ort.get_available_providers():
        try:
            return _open_ort_session(model, name, options, "cuda"), "cuda", why
        except (EngineMissing, EngineFailed) as error:
            why = str(error)
    return _open_ort_session(model, name, options, "cpu"), "cpu", why


def _open_ort_session(
    model: Path | bytes, name: str, options: ort.SessionOptions, device: Device
) -> ort.InferenceSession:
    ort.set_default_logger_severity(LOG_FATAL)
    lost = _prepare_cuda() if device == "cuda" else ""
    wanted = (
        [EXECUTION_PROVIDERS[device]] if device == "cpu" else [EXECUTION_PROVIDERS[device], EXECUTION_PROVIDERS["cpu"]]
    )
    try:
        source = model if isinstance(model, bytes) else str(model)
        # Its own second try prints four lines where the answer goes, and hides what was wrong with the first.
        engine = ort.InferenceSession(source, options, providers=wanted, enable_fallback=False)
    except faults.NoSuchFile:
        raise ModelNotFound(f"{name}: no such file; see what there is with: asr33 model list") from None
    except _ORT_ERRORS as error:
        raise _load_error(name, device, error) from None
    except (MemoryError, RuntimeError) as error:
        raise _resource_error(name, error) from None
    # What onnxruntime falls back to when a provider fails, it says nowhere that a caller could see.
    if (got := engine.get_providers())[0] != wanted[0]:
        cure = REINSTALL_GPU if device == "cuda" else "pip install '.[cpu]' anew"
        raise EngineMissing(f"asked for {wanted[0]}, got {', '.join(got)}{lost and f' ({lost})'}: {cure}")
    return engine


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    # Never onnxruntime's own default: it ties each thread to a core, and the wheel's clock may need that one.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # A step is some hundred pieces of work for all threads: who sleeps between two of them comes late to the next, and
    # the step takes half as long again (measured on 124M, 8 bit, two threads: 172 steps a second, turning 259, at less
    # CPU). Between steps nobody turns.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Then another sum is taken, at half the speed.
    options.add_session_config_entry("session.x64quantprecision", str(int(cpu.int8_saturates())))
    # It would put three quick nodes together into one that is slower than they are.
    options.add_session_config_entry("optimization.disable_specified_optimizers", "SkipLayerNormFusion")
    return options


def _prepare_cuda() -> str:
    """Load CUDA's libraries; which are lost, if any. Raises EngineMissing where no GPU can be had."""
    if EXECUTION_PROVIDERS["cuda"] not in ort.get_available_providers():
        raise EngineMissing(f"asked for CUDA, but this onnxruntime is for the CPU alone: {REINSTALL_GPU}")
    if not (devices := _count_gpus()):
        nothing = "no NVIDIA driver is installed here" if devices is None else "the NVIDIA driver finds no GPU here"
        raise EngineMissing(f"asked for CUDA, but {nothing}: take the CPU, or another machine")
    with contextlib.redirect_stdout(io.StringIO()) as said:  # it prints what it does not find
        ort.preload_dlls()
    return _first_line(said.getvalue())


def _count_gpus() -> int | None:
    """How many GPUs the NVIDIA driver has; None without a driver."""
    import ctypes  # is slow to load, and of use to few

    count = ctypes.c_int(0)
    for name in ("libcuda.so.1", "nvcuda.dll"):
        with contextlib.suppress(OSError):
            driver = ctypes.CDLL(name)
            return 0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value
    return None


def _load_error(name: str, device: Device, error: Exception) -> ModelDamaged | EngineFailed:
    said = _first_line(error)
    if device == "cuda" and "CUDA" in said:
        return EngineFailed(f"{name}: the GPU cannot take it ({said}); free its memory, or run it on the CPU")
    if any(word in said for word in _NEWER_VERSION_WORDS):
        return ModelDamaged(f"{name}: made for a newer onnxruntime than {ort.__version__} ({said}); install that")
    return ModelDamaged(f"{name}: onnxruntime cannot load it ({said}); fetch it again")


def _resource_error(name: str, error: Exception) -> EngineFailed:
    why = _first_line(error) or "too little memory"
    return EngineFailed(f"{name}: this machine cannot load it ({why}); free memory, or give fewer --threads")


def _first_line(error: Exception | str) -> str:
    """What it says, without what a terminal would obey: names in a damaged file may be anything."""
    said = error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else str(error)
    line = _SOURCE_PLACE.sub("", _ERROR_CODE.sub("", said.strip().partition("\n")[0]))
    return "".join(char if char.isprintable() else "?" for char in line)
