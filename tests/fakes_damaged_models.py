"""Damages the files of models as a stranger or a bad disk would, with a seed, and loads them in a process of its own.

The manifest's hashes are made right again after the damage, as a stranger would do.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HUGE = [0, -1, 1, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**30, 1e308, 0.5, True, None, "", "x", [], {}]
WORDS = ["\x1b[31m", "\n", "../model.data", "/etc/passwd", "\u202e", "a" * 5000, "🙂"]


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flips, cuts, doubles and overwrites parts."""
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(data) + 1)
        near = rng.random() < 0.5  # the structure of a file is at its begin, or at its end
        if near:
            at = min(at, rng.randrange(1, 400)) if rng.random() < 0.7 else max(0, len(data) - rng.randrange(400))
        match rng.randrange(6):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
            case 2:
                data = data[:at] + rng.randbytes(4) + data[at + 4 :]
            case 3:
                data = data[:at] + data[at + rng.randrange(1, 200) :]
            case 4:
                data = data[:at] + struct.pack("<Q", rng.choice([0, 1, 2**31, 2**63, 2**64 - 1])) + data[at + 8 :]
            case _:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    return data


def damage_json(rng: random.Random, data: bytes) -> bytes:
    """Replaces a value anywhere in a JSON file, or its bytes."""
    if rng.random() < 0.15:
        return damage_bytes(rng, data)
    if rng.random() < 0.1:
        return rng.choice([b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff\xfe"])
    root = json.loads(data)
    for _ in range(rng.choice([1, 1, 3])):
        _replace_value(rng, root)
    return json.dumps(root).encode("utf-8", "surrogatepass")


def _replace_value(rng: random.Random, root: Any) -> None:
    node = root
    while True:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        child = node[key]
        if isinstance(child, dict | list) and child and rng.random() < 0.8:
            node = child
            continue
        match rng.randrange(4):
            case 0:
                del node[key]
            case 1:
                node[key] = rng.choice(WORDS)
            case 2 if isinstance(node, dict):
                node[rng.choice(WORDS)] = child
            case _:
                node[key] = rng.choice(HUGE)
        return


def damage_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Damages the header, whose length is made right again or not."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.3:
        return damage_bytes(rng, data)
    header = damage_json(rng, header)
    size = len(header) if rng.random() < 0.8 else rng.choice([0, 1, 2**31, 2**63, 2**64 - 1, len(header) * 2])
    return size.to_bytes(8, "little") + header + rest


def damage_graph(rng: random.Random, data: bytes) -> bytes:
    """Damages the bytes of a graph, or a field of its message."""
    import onnx

    if rng.random() < 0.4:
        return damage_bytes(rng, data)
    model = onnx.load_from_string(data)
    for _ in range(rng.choice([1, 1, 2])):
        if not model.graph.node or not model.graph.initializer:
            break
        node = rng.choice(model.graph.node)
        tensor = rng.choice(model.graph.initializer)
        match rng.randrange(12):
            case 0:
                tensor.dims[:] = [rng.choice([0, -1, 1, 2**31, 2**62]) for _ in range(rng.randrange(5))]
            case 1:
                tensor.data_type = rng.randrange(30)
            case 2:
                del model.graph.node[rng.randrange(len(model.graph.node))]
            case 3:
                node.op_type = rng.choice(
                    ["If", "Loop", "ConstantOfShape", "Expand", "Tile", "X", "Reshape", "EPContext"]
                )
            case 4 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(["", "input_ids", tensor.name, "x"])
            case 5 if node.attribute:
                attribute = rng.choice(node.attribute)
                attribute.i = rng.choice([-1, 0, 2**31, 2**62])
                attribute.type = rng.randrange(15)
            case 6:
                tensor.external_data.add(key="location", value=rng.choice(["/etc/passwd", "model.data", "../x", ""]))
                tensor.data_location = 1
            case 7:
                info = rng.choice([*model.graph.input, *model.graph.output])
                for dim in info.type.tensor_type.shape.dim:
                    dim.dim_value = rng.choice([-1, 0, 1, 2**31, 2**62])
            case 8 if model.metadata_props:
                stored = model.metadata_props[0]
                stored.value = damage_json(rng, stored.value.encode()).decode("utf-8", "replace")
            case 9:
                model.opset_import[0].version = rng.choice([0, -1, 1, 7, 99, 2**40])
            case 10:
                tensor.raw_data = damage_bytes(rng, tensor.raw_data)
            case _:
                model.graph.node.append(rng.choice(model.graph.node))
    serialised: bytes = model.SerializeToString()
    return serialised


DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "model.onnx": damage_graph,
    "model.data": damage_bytes,
    "tokenizer.json": damage_json,
    "manifest.json": damage_json,
    "config.json": damage_json,
    "model.safetensors": damage_safetensors,
    "model.safetensors.index.json": damage_json,
    "vocab.json": damage_json,
    "merges.txt": damage_bytes,
}


def damage_folder(rng: random.Random, source: Path, target: Path) -> str:
    """Writes a copy of a model with one or two damaged files; returns their names."""
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    names = [name for name in DAMAGES if name in files]
    damaged = rng.sample(names, min(len(names), rng.choice([1, 1, 1, 2])))
    for name in damaged:
        files[name] = DAMAGES[name](rng, files[name])
    if "manifest.json" in files and "manifest.json" not in damaged:
        manifest = json.loads(files["manifest.json"])
        for name in manifest["files"]:
            manifest["files"][name] = {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        files["manifest.json"] = json.dumps(manifest).encode()
    for name, data in files.items():
        (target / name).write_bytes(data)
    return " and ".join(damaged)


def load_and_run(folder: Path) -> str:
    """Loads a model and computes two tokens, or imports a folder of the hub. Returns "", or the error's one line.

    Raises AssertionError for an error that blames the machine, or whose message is no line.
    """
    from model.build import import_weights
    from model.errors import ModelDamaged, ModelError, ModelNotFound
    from model.onnx.model_loader import load_model
    from model.printable import escape_controls
    from model.store import store

    failure: ModelError | None = None
    try:
        if (folder / "manifest.json").exists():
            store.read_manifest(folder)
            session, tokenizer = load_model(folder, threads=1)
            session.forward([tokenizer.end_of_text, *tokenizer.encode("The sea")[:20]])
            session.forward([0])
        import_weights.read_source(folder)
    except ModelError as error:
        failure = error
    if failure is None:
        return ""
    line = str(failure)
    assert isinstance(failure, ModelDamaged | ModelNotFound), f"{type(failure).__name__}: {line}"
    assert line, "an empty line"
    assert escape_controls(line) == line, line
    return line


def main() -> None:
    """Prints a line for each damaged model; the memory of this process is limited. Arguments: folders, seeds, MiB."""
    import resource
    import tempfile

    *sources, first, count, limit = sys.argv[1:]
    for source in sources:
        load_and_run(Path(source))  # so that all libraries are loaded before the memory is limited
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (int(limit) << 20),) * 2)
    for seed in range(int(first), int(first) + int(count)):
        rng = random.Random(seed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            damaged = damage_folder(rng, Path(rng.choice(sources)), folder)
            sys.stdout.write(f"{seed} {damaged}: ")
            sys.stdout.flush()  # in case that the process dies
            sys.stdout.write(load_and_run(folder).replace(name, "FOLDER")[:300] + "\n")


if __name__ == "__main__":
    main()
