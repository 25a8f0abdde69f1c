"""A model directory: what every verb takes as `--model`.

model.json       the model's dataclasses and how it is shown its input
tokenizer.json
params.safetensors   parameters by path (a shipped or exported model), or
checkpoints/         the training checkpoints of a working directory
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint.experimental import v1 as ocp

from sg4v_jax import files
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.clip import CLIPConfig
from sg4v_jax.models.llama import LlamaConfig
from sg4v_jax.models.video_lm import VideoLMConfig
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.anyres import AnyRes
from sg4v_jax.weights import safetensors_io

FORMAT = 1
PARAMS = "params.safetensors"
CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Everything about a model but its weights."""

    config: VideoLMConfig
    inputs: InputSpec
    tokenizer: Tokenizer


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
    settings.tokenizer.save(files.path(folder) / "tokenizer.json")
    files.write_json(files.path(folder) / "model.json", value)


def load_settings(folder: str | os.PathLike) -> ModelSettings:
    """Reads `model.json` and `tokenizer.json`.

    Raises:
      CheckpointError: not a model directory, or written by another version of the format.
    """
    file = files.path(folder) / "model.json"
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
    return ModelSettings(config, inputs, Tokenizer.from_file(files.path(folder) / "tokenizer.json"))


def model_config_from_json(value: dict[str, Any]) -> VideoLMConfig:
    """The dataclasses back from JSON, where tuples became lists."""
    tower = {k: tuple(v) if isinstance(v, list) else v for k, v in value["tower"].items()}
    return VideoLMConfig(
        tower=CLIPConfig(**tower),
        llm=LlamaConfig(**value["llm"]),
        separators=value["separators"],
        pinpoints=tuple(tuple(p) for p in value["pinpoints"]),
    )


def load_params(folder: str | os.PathLike) -> dict[str, jax.Array]:
    """Parameters by path, f32, of a working directory's newest checkpoint or a shipped model.

    Raises:
      CheckpointError: `folder` has neither a checkpoint nor a parameter file, or it is damaged.
    """
    flat = _newest_checkpoint(folder)
    file = files.path(folder) / PARAMS
    if flat is None and file.exists():
        flat = safetensors_io.read(file)
    if flat is None:
        raise CheckpointError(
            f"{folder}: no weights (neither {PARAMS} nor a checkpoint)",
            mend="train first, or name a folder that has weights",
        )
    return {path: jnp.asarray(flat[path], jnp.float32) for path in flat}


def save_params(folder: str | os.PathLike, params: dict[str, jax.Array], *, dtype: str) -> None:
    """Writes `params.safetensors` in `dtype`; bfloat16 halves a shipped model."""
    tensors = {path: jax.device_get(value.astype(dtype)) for path, value in params.items()}
    safetensors_io.write(files.path(folder) / PARAMS, tensors)


def _newest_checkpoint(folder: str | os.PathLike) -> dict[str, jax.Array] | None:
    checkpoints = files.path(folder) / CHECKPOINTS
    if not checkpoints.is_dir():
        return None
    orbax = ocp.training.Checkpointer(checkpoints.resolve())
    try:
        if orbax.latest is None:
            return None
        step = orbax.latest.step
        saved = orbax.checkpointables_metadata(step).metadata["params"]
        # Whole on one device, however many it was saved from.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = {
            path: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here) for path, a in saved.items()
        }
        return orbax.load_checkpointables(step, {"params": wanted})["params"]
    except Exception as e:  # Orbax and TensorStore raise many types for a damaged file
        raise CheckpointError(
            f"{checkpoints}: the newest checkpoint cannot be read ({type(e).__name__}: {e})",
            mend="remove that step's folder to fall back to the one before",
        ) from e
    finally:
        orbax.close()
