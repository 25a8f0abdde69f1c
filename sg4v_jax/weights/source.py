"""A checkpoint to read: its tensors, the layout that they have, and the JSON files beside them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.params import Skeleton
from sg4v_jax.weights import (
    dinov2,
    extras,
    gguf_source,
    hub,
    onnx_tower,
    safetensors_io,
    torch_bin,
    video_lm,
)
from sg4v_jax.weights.tensors import Tensors, inside, read_index
from sg4v_jax.weights.views import Param, params_of

TORCH_INDEX = "pytorch_model.bin.index.json"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER = "tokenizer.json"
OWN_SETTINGS = "model.json"  # of this package's own model directories
# Torch files beside a checkpoint that are no part of its weights.
_NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin", "non_lora_trainables.bin")

# Files that hold weights and settings; each is opened whole.
_WHOLE_FILES = {
    gguf_source.SUFFIX: gguf_source.open_file,
    onnx_tower.SUFFIX: onnx_tower.open_file,
}


@dataclasses.dataclass(frozen=True)
class Source:
    """One checkpoint, opened: headers are read, tensors are not.

    Attributes:
      name: as the user gave it, for messages.
      folder: where its files lie.
      tensors: by torch name.
      layout: of `video_lm.LAYOUTS`; `parts` of the model that it has.
      config, preprocessor: its `config.json` and `preprocessor_config.json`, empty without.
    """

    name: str
    folder: epath.Path
    tensors: Mapping
    layout: str
    parts: tuple[str, ...]
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]

    def params(self, skeleton: Skeleton, *, tied: bool) -> dict[str, Param]:
        """The parameters of its parts, as views.

        Raises:
          CheckpointError: tensors missing, unexpected, mis-shaped, of a wrong dtype.
        """
        table = video_lm.part_table(self.layout, parts=self.parts, tied=tied)
        cut = video_lm.only(skeleton, self.parts)
        return params_of(self.tensors, table, cut, where=self.name)


def local_folder(name: str | os.PathLike, *, revision: str | None = None) -> epath.Path:
    """The folder or file that `name` stands for: a path, a hub id, or `package:NAME` for the
    weights that an installed Python package ships.

    Raises:
      CheckpointError: neither is there.
    """
    if os.fspath(name).startswith(extras.PACKAGE):
        return files.path(extras.packaged(os.fspath(name)))
    path = files.path(name)
    if path.exists():
        return path
    if hub.is_id(os.fspath(name)):
        return files.path(hub.fetch(os.fspath(name), revision=revision))
    raise CheckpointError(
        f"{name}: no such file or folder", mend="check the path, or give a hub id ORG/NAME"
    )


def is_model_directory(folder: epath.Path) -> bool:
    """Whether `folder` is this package's own."""
    return folder.is_dir() and (folder / OWN_SETTINGS).exists()


def open_source(name: str | os.PathLike, *, revision: str | None = None) -> Source:
    """The checkpoint in a folder, a file, or a hub repository.

    Raises:
      CheckpointError: nothing there, damaged files, or names of no known layout.
      UnsafePathError: files that are links out of their folder.
    """
    path = local_folder(name, revision=revision)
    folder = path if path.is_dir() else path.parent
    if path.suffix in _WHOLE_FILES:
        tensors, config, preprocessor, *_ = _WHOLE_FILES[path.suffix](path)
    else:
        tensors = read_tensors(path)
        config = read_optional(folder / "config.json")
        preprocessor = read_optional(folder / "preprocessor_config.json")
    tensors = dinov2.as_clip(tensors)
    layout, parts = video_lm.recognise(tensors, where=str(name))
    return Source(str(name), folder, tensors, layout, parts, config, preprocessor)


def read_optional(path: epath.Path) -> dict[str, Any]:
    """The JSON object in `path`, empty where there is no such file."""
    if not path.exists():
        return {}
    value = files.read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object", mend="fetch the file again")
    return value


def read_tensors(path: epath.Path) -> Tensors:
    """The tensors of a file or folder; safetensors are preferred to torch's own files."""
    if not path.is_dir():
        return (torch_bin if path.suffix in (".bin", ".pt", ".pth") else safetensors_io).read(path)
    names = sorted(p.name for p in path.iterdir())
    if any(n.endswith(".safetensors") or n == safetensors_io.INDEX for n in names):
        return safetensors_io.read(path)
    if TORCH_INDEX in names:
        return read_index(path / TORCH_INDEX, reader=torch_bin.open_file)
    found = [n for n in names if n.endswith(".bin") and n not in _NOT_WEIGHTS]
    if len(found) != 1:
        raise CheckpointError(
            f"{path}: no model.json, no .safetensors file, and {len(found)} .bin files without "
            f"{TORCH_INDEX}",
            mend="give a folder with one file of weights, or with shards and their index",
        )
    return torch_bin.read(inside(path, found[0], where=str(path)))
