"""A checkpoint as a model: its tensors, checked one by one, in the trusted base's clothes.

The files are read as safetensors, a format that cannot carry code.  Names and shapes must be the base's, types the
base's or float32 (what mixed-precision training keeps; rounded to the base's type), all values finite.  Configuration,
tokenizer and code come from the base: those of the checkpoint are never opened.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import EngineError

KEPT: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""What a model needs beside its weights; taken from the base."""
MAX_FILES: Final = 256
_BYTES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Of one number, by the name of its type."""
_HEADER_ROOM: Final = 64 * 1024**2
"""Bytes that headers of all files may take beyond the tensors themselves."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file says of a tensor."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it: F32, BF16."""


def tensors_of(folder: Path, what: str) -> dict[str, TensorInfo]:
    """Every tensor in the safetensors files of a folder, by name; nothing of their content is read.

    Raises:
        EngineError: there are no such files, too many, or one is damaged, a link, or repeats a name.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise EngineError(
            f"{what} {folder} holds no *.safetensors; weights in other formats can carry code and are not read"
        )
    if len(files) > MAX_FILES:
        raise EngineError(f"{what} {folder} holds {len(files)} files; at most {MAX_FILES}")
    found: dict[str, TensorInfo] = {}
    for file in files:
        if what == "checkpoint" and (file.is_symlink() or not file.is_file()):
            raise EngineError(f"{what} {file.name}: is a link or no plain file")
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    view = opened.get_slice(name)
                    if name in found:
                        raise EngineError(f"{what} {file.name}: tensor {name!r} is in {found[name].file.name} as well")
                    found[name] = TensorInfo(file, tuple(view.get_shape()), view.get_dtype())
        except (OSError, SafetensorError) as error:
            raise EngineError(f"{what} {file.name}: not a readable safetensors file: {error}") from error
    return found


def room_for(base: Path) -> int:
    """Bytes that the files of a checkpoint of this base may hold: its tensors in float32, and their headers.

    Raises:
        EngineError: the base's own files cannot be read.
    """
    return sum(4 * _size(tensor.shape) for tensor in tensors_of(base, "base").values()) + _HEADER_ROOM


def check(checkpoint: Path, base: Path) -> dict[str, TensorInfo]:
    """The checkpoint's tensors, if names, shapes and types are the base's.

    Raises:
        EngineError: they are not; the message names the first that is wrong.
    """
    expected, found = tensors_of(base, "base"), tensors_of(checkpoint, "checkpoint")
    if names := sorted(set(found) ^ set(expected)):
        raise EngineError(f"checkpoint: tensor {names[0]!r} is {'missing' if names[0] in expected else 'unknown'}")
    for name, tensor in found.items():
        wanted = expected[name]
        if wanted.dtype not in _BYTES:
            raise EngineError(f"base: tensor {name!r} is {wanted.dtype}, a type that cannot be written")
        types = (wanted.dtype, "F32") if wanted.dtype in ("F16", "BF16") else (wanted.dtype,)
        if tensor.shape != wanted.shape or tensor.dtype not in types:
            raise EngineError(
                f"checkpoint: tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, "
                f"expected {wanted.dtype} {list(wanted.shape)}"
            )
    most = room_for(base)
    held = sum(file.stat().st_size for file in {tensor.file for tensor in found.values()})
    if held > most:
        raise EngineError(f"checkpoint: its files hold {held} bytes, more than its tensors explain ({most})")
    return found


def assemble(checkpoint: Path, base: Path, target: Path, *, trust_remote_code: bool = False) -> Path:
    """A model folder of the checkpoint's tensors and the base's everything else.

    Args:
        checkpoint: folder that training left, untrusted.
        base: folder of the trusted base.
        target: an empty folder, made if it is missing.
        trust_remote_code: whether Python files of the base come along.

    Returns:
        ``target``.

    Raises:
        EngineError: the checkpoint is refused (:func:`check`, or a tensor that is not finite).
    """
    target.mkdir(parents=True, exist_ok=True)
    merge(checkpoint, base, target / "model.safetensors")
    kept = [*KEPT, *(sorted(file.name for file in base.glob("*.py")) if trust_remote_code else ())]
    for name in kept:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
    return target


def merge(checkpoint: Path, base: Path, target: Path) -> None:
    """All tensors of a checkpoint in one safetensors file, in the base's types; one tensor in memory at a time.

    Args:
        checkpoint: folder that training left, untrusted.
        base: folder of the trusted base.
        target: the file; there is none when this fails.

    Raises:
        EngineError: the checkpoint is refused (:func:`check`, or a tensor that is not finite).
    """
    found = check(checkpoint, base)
    types = {name: tensor.dtype for name, tensor in tensors_of(base, "base").items()}
    order = sorted(found, key=lambda name: (found[name].file, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        size = _size(found[name].shape) * _BYTES[types[name]]
        header[name] = {
            "dtype": types[name],
            "shape": list(found[name].shape),
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    try:
        with target.open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for content in _contents(found, types, order):
                out.write(content)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _contents(found: dict[str, TensorInfo], types: dict[str, str], order: Sequence[str]) -> Iterator[memoryview]:
    """The bytes of each tensor in the base's type.

    Raises:
        EngineError: a tensor is not finite, or is no longer once it is rounded.
    """
    import torch
    from safetensors import safe_open

    kinds = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    for file, names in itertools.groupby(order, key=lambda name: found[name].file):
        with safe_open(file, framework="pt") as opened:
            for name in names:
                tensor = opened.get_tensor(name)
                rounded = tensor.to(kinds[types[name]]) if types[name] in kinds else tensor
                if not bool(torch.isfinite(rounded).all()):
                    raise EngineError(f"checkpoint: tensor {name!r} is not finite")
                yield memoryview(rounded.contiguous().reshape(-1).view(torch.uint8).numpy())


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for part in shape:
        size *= part
    return size
