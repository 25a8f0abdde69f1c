"""A model directory: what every verb takes as `--model`.

model.json       the model's dataclasses and how it is shown its input
tokenizer.json
params.safetensors   parameters by path (a shipped or exported model), or
params/              the same as an Orbax checkpoint (an imported model, `orbax_params.py`), or
checkpoints/         the training checkpoints of a working directory (`checkpoint_files.py`)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from sg4v_jax import files
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.clip import CLIPConfig
from sg4v_jax.models.llama import LlamaConfig
from sg4v_jax.models.lora import LoRA, is_lora, merge
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.weights import checkpoint_files, orbax_params, safetensors_io

FORMAT = 1
SETTINGS, PARAMS = "model.json", "params.safetensors"


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Everything about a model but its weights; `lora` where it is trained by low-rank branches."""

    config: VideoLMConfig
    inputs: InputSpec
    tokenizer: Tokenizer
    lora: LoRA | None = None


def anyres_of(config: VideoLMConfig) -> AnyRes:
    """The any-resolution settings in pixels that belong to a model."""
    side = config.tower.image_size
    pinpoints = tuple((w * side, h * side) for w, h in config.pinpoints)
    return AnyRes(side=side, pinpoints=pinpoints, patches=config.tower.patches)


def save_settings(folder: str | os.PathLike, settings: ModelSettings) -> None:
    """Writes `model.json` and `tokenizer.json`."""
    inputs = dataclasses.asdict(settings.inputs)
    del inputs["anyres"]  # follows from the model
    value = {"format": FORMAT, "model": dataclasses.asdict(settings.config), "inputs": inputs}
    if settings.lora is not None:
        value["lora"] = dataclasses.asdict(settings.lora)
    settings.tokenizer.save(files.path(folder) / "tokenizer.json")
    files.write_json(files.path(folder) / SETTINGS, value)


def load_settings(folder: str | os.PathLike) -> ModelSettings:
    """Reads `model.json` and `tokenizer.json`.

    Raises:
      CheckpointError: not a model directory, or written by another version of the format.
    """
    file = files.path(folder) / SETTINGS
    if not file.exists():
        raise CheckpointError(
            f"{folder}: not a model directory (it has no model.json)",
            mend="give the workdir of `sg4v train`, or a folder made by this package",
        )
    value = files.read_json(file)
    if value.get("format") != FORMAT:
        raise CheckpointError(
            f"{file}: field 'format' is {value.get('format')!r}, this version reads {FORMAT}"
        )
    try:
        config = model_config_from_json(value["model"])
        inputs = InputSpec(anyres=anyres_of(config), **value["inputs"])
    except (KeyError, TypeError) as e:
        raise CheckpointError(f"{file}: a field is missing or unknown: {e}") from e
    tokenizer = Tokenizer.from_file(files.path(folder) / "tokenizer.json")
    return ModelSettings(config, inputs, tokenizer, _lora(folder))


def model_config_from_json(value: dict[str, Any]) -> VideoLMConfig:
    """The dataclasses back from JSON, where tuples became lists."""
    tower = {k: tuple(v) if isinstance(v, list) else v for k, v in value["tower"].items()}
    return VideoLMConfig(
        tower=CLIPConfig(**tower),
        llm=LlamaConfig(**value["llm"]),
        separators=value["separators"],
        pinpoints=tuple(tuple(p) for p in value["pinpoints"]),
    )


def load_params(
    folder: str | os.PathLike,
    *,
    step: int | str | None = None,
    dtype: str | None = None,
    shardings: Mapping[str, NamedSharding] | None = None,
    merge_lora: bool = True,
) -> dict[str, jax.Array]:
    """Parameters by path of a working directory's checkpoint or of a shipped model.

    Args:
      step: of a working directory: a step number, "best" (by its evaluations), or None for the
        newest.
      dtype: of all parameters; None keeps what is stored.
      shardings: where each path goes while it is read, so that no device ever holds a whole model;
        paths that it lacks go to the first local device, low-rank branches with their kernels.
      merge_lora: whether low-rank branches are added to their kernels, as inference wants it;
        they are added before anything is rounded to `dtype`.

    Raises:
      CheckpointError: `folder` has neither a checkpoint nor a parameter file, it has no such
        step, or it is damaged.
    """
    lora, shardings = _lora(folder) if merge_lora else None, shardings or {}

    def dtype_of(path, stored):
        return stored if dtype is None else jnp.promote_types(stored, dtype) if lora else dtype

    def sharding_of(path):
        linear = path.rpartition(".")[0]
        kernel = shardings.get(f"{linear}.kernel")
        if path in shardings or not is_lora(path) or kernel is None:
            return shardings.get(path)
        return NamedSharding(kernel.mesh, PartitionSpec())  # small, and needed wherever it is

    how = dict(step=step, dtype_of=dtype_of, sharding_of=sharding_of)
    flat = checkpoint_files.read_params(folder, **how)
    if flat is None:
        flat = (_read_imported if orbax_params.is_there(folder) else _read_file)(folder, **how)
    if lora is None:
        return flat
    # One matrix at a time, so that old and new are not held together.
    for linear in {path.rpartition(".")[0] for path in flat if is_lora(path)}:
        part = {p: flat.pop(p) for p in list(flat) if p.rpartition(".")[0] == linear}
        for path, value in merge(part, lora).items():
            value = value if dtype is None else value.astype(dtype)
            flat[path] = jax.device_put(value, shardings[path]) if path in shardings else value
    return flat


def save_params(folder: str | os.PathLike, params: dict[str, jax.Array], *, dtype: str) -> None:
    """Writes `params.safetensors` in `dtype`; bfloat16 halves a shipped model."""
    tensors = {path: jax.device_get(value.astype(dtype)) for path, value in params.items()}
    safetensors_io.write(files.path(folder) / PARAMS, tensors)


def _read_imported(folder, *, step, dtype_of, sharding_of) -> dict[str, jax.Array]:
    _refuse_step(step, where=folder, what=f"was imported, {orbax_params.FOLDER}/")
    return orbax_params.load(folder, dtype_of=dtype_of, sharding_of=sharding_of)


def _refuse_step(step: int | str | None, *, where: str | os.PathLike, what: str) -> None:
    if step is not None:
        raise CheckpointError(
            f"{where}: step {step!r} of a model that {what}", mend="leave the step out"
        )


def _read_file(folder, *, step, dtype_of, sharding_of) -> dict[str, jax.Array]:
    file = files.path(folder) / PARAMS
    if not file.exists():
        raise CheckpointError(
            f"{folder}: no weights (neither {PARAMS} nor a checkpoint)",
            mend="train first, or name a folder that has weights",
        )
    _refuse_step(step, where=folder, what=f"is one file, {PARAMS}")
    tensors = safetensors_io.read(file)
    return {
        path: _placed(value.astype(dtype_of(path, value.dtype)), sharding=sharding_of(path))
        for path, value in tensors.items()
    }


def _placed(value: np.ndarray, *, sharding: NamedSharding | None) -> jax.Array:
    if sharding is None:
        return jnp.asarray(value)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def _lora(folder: str | os.PathLike) -> LoRA | None:
    """The low-rank branches that `model.json` tells of, None without."""
    file = files.path(folder) / SETTINGS
    value = files.read_json(file).get("lora") if file.exists() else None
    try:
        return LoRA(**{**value, "targets": tuple(value["targets"])}) if value else None
    except (KeyError, TypeError) as e:
        raise CheckpointError(f"{file}: field 'lora' is {value!r}: {e}") from e
