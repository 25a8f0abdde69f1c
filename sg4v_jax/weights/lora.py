"""Low-rank adapters as peft saves them, with what the original's training saves beside them.

A folder of the original's LoRA training (spec 1.11):

    adapter_config.json, adapter_model.safetensors|.bin   A and B of each adapted matrix
    non_lora_trainables.bin                               projector and whatever else was trained
    vision_tower/                                         the tower, where it was unlocked
    config.json                                           the model's own

torch holds A (r, in) and B (out, r) of a layer; the merged matrix is `W + alpha / r * B A`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError
from sg4v_jax.models.lora import LoRA
from sg4v_jax.models.params import Skeleton
from sg4v_jax.weights import safetensors_io, torch_bin, video_lm
from sg4v_jax.weights.source import ADAPTER_CONFIG, Source, read_optional, read_tensors
from sg4v_jax.weights.table import LINEAR, MERGE_HEADS, SPLIT_HEADS, Table, raise_all
from sg4v_jax.weights.tensors import Renamed

PREFIX = "base_model.model."  # peft's, before the model's own names
A, B = ".lora_A.weight", ".lora_B.weight"
NON_LORA, TOWER = "non_lora_trainables.bin", "vision_tower"
# peft's variants that change what the numbers mean.
_OFF = ("use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "lora_bias")


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter folder, opened.

    Attributes:
      folder: where it lies.
      rank, alpha, dropout: of `adapter_config.json`.
      tensors: A and B by the model's own names, `...q_proj.lora_A.weight`.
      others: tensors that replace the base model's, by the model's own names.
      tower: tensors of `vision_tower/`, by CLIP's names; empty without.
      base: the name of the base model, as its training wrote it.
    """

    folder: epath.Path
    rank: int
    alpha: float
    dropout: float
    tensors: Mapping
    others: Mapping
    tower: Mapping
    base: str

    @property
    def matrices(self) -> list[str]:
        """Names of the adapted matrices without `.weight`."""
        return [name.removesuffix(A) for name in self.tensors if name.endswith(A)]


def is_adapter(folder: epath.Path) -> bool:
    """Whether `folder` holds an adapter and not a whole model."""
    return (folder / ADAPTER_CONFIG).exists()


def open_adapter(folder: epath.Path) -> Adapter:
    """The adapter in `folder`.

    Raises:
      CheckpointError: files missing or damaged, half a pair, or a variant of LoRA whose numbers
        mean something else.
    """
    config = files.read_json(folder / ADAPTER_CONFIG)
    wrong = [f"{key} is {config[key]!r}" for key in _OFF if config.get(key)]
    wrong += [f"no {key}" for key in ("r", "lora_alpha") if key not in config]
    if config.get("bias", "none") != "none":
        wrong.append(f"bias is {config['bias']!r}")
    if wrong:
        raise CheckpointError(
            f"{folder / ADAPTER_CONFIG}: {', '.join(wrong)}", mend="merge it with peft instead"
        )
    tensors = _first(folder, "adapter_model")
    pairs = {name.removeprefix(PREFIX): name for name in tensors}
    odd = [n for n in pairs if not n.endswith((A, B)) or _partner(n) not in pairs]
    raise_all(
        [("{} has no partner, or is no lora_A or lora_B", n) for n in odd],
        where=str(folder),
        mend="merge it with peft instead",
    )
    others = {}
    if (folder / NON_LORA).exists():
        raw = torch_bin.read(folder / NON_LORA)
        others = Renamed(raw, {_stripped(name): name for name in raw})
    tower = read_tensors(folder / TOWER) if (folder / TOWER).is_dir() else {}
    return Adapter(
        folder,
        config["r"],
        config["lora_alpha"],
        config.get("lora_dropout", 0.0),
        Renamed(tensors, pairs),
        others,
        tower,
        config.get("base_model_name_or_path") or "",
    )


def _first(folder: epath.Path, stem: str) -> Mapping:
    for suffix, reader in ((".safetensors", safetensors_io), (".bin", torch_bin)):
        if (folder / f"{stem}{suffix}").exists():
            return reader.read(folder / f"{stem}{suffix}")
    raise CheckpointError(
        f"{folder}: {ADAPTER_CONFIG} but no {stem}.safetensors or .bin", mend="fetch it too"
    )


def _partner(name: str) -> str:
    return name.removesuffix(A) + B if name.endswith(A) else name.removesuffix(B) + A


def _stripped(name: str) -> str:
    """`base_model.model.model.mm_projector...` -> `model.mm_projector...`, as the original does."""
    name = name.removeprefix("base_model.")
    return name.removeprefix("model.") if name.startswith("model.model.") else name


def merged(adapter: Adapter, base: Source) -> Source:
    """`base` with the adapter's matrices added and its other tensors put in their places.

    Raises:
      CheckpointError: names that the base does not have, or of another shape.
    """
    own = video_lm.canonical(base.layout, base.tensors)
    # peft names what it found in memory, which need not be the layout of the base's files.
    matrices = _renamed([f"{name}.weight" for name in adapter.matrices], own)
    places = _renamed(adapter.others, own)
    over: dict[str, tuple[Mapping, str]] = {places[n]: (adapter.others, n) for n in adapter.others}
    problems = []
    for name in adapter.tower:
        inner = name.removeprefix("vision_tower.").removeprefix("vision_model.")
        full = f"{video_lm.LAYOUTS[base.layout].tower}{inner}"
        if full in over and not np.array_equal(adapter.tower[name], over[full][0][over[full][1]]):
            problems.append((f"{{}} is in {TOWER}/ and differs in {NON_LORA}", full))
        over[full] = adapter.tower, name
    over = {n: v for n, v in over.items() if not n.endswith("embeddings.position_ids")}
    shapes = base.tensors.shapes
    problems += [("{} is not in the base model", n) for n in over if n not in shapes]
    for name in adapter.matrices:
        a, b = (adapter.tensors.shapes[name + x] for x in (A, B))
        full = matrices[f"{name}.weight"]
        if full not in shapes:
            problems.append(("the base model has no {}", full))
        elif (b[0], a[1]) != tuple(shapes[full]) or a[0] != b[1]:
            problems.append((f"{{}} has shape {shapes[full]}, its adapter {b} x {a}", full))
    problems += [
        (f"{{}} has shape {source.shapes[old]}, {shapes[n]} in the base model", n)
        for n, (source, old) in over.items()
        if n in shapes and source.shapes[old] != shapes[n]
    ]
    raise_all(problems, where=str(adapter.folder), mend="give the --base that it was trained on")
    return dataclasses.replace(
        base,
        name=str(adapter.folder),
        tensors=_Merged(base.tensors, adapter, over, matrices=matrices),
        config=base.config | read_optional(adapter.folder / "config.json"),
        preprocessor=base.preprocessor | read_optional(adapter.folder / "preprocessor_config.json"),
    )


def _renamed(names: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """Each of `names`, of whichever layout fits them best, as the base calls it."""
    names = list(names)
    tries = [
        {there: own.get(llava, there) for llava, there in video_lm.canonical(x, names).items()}
        for x in ("llava", *video_lm.WHOLE)
    ]
    known = set(own.values())
    return max(tries, key=lambda t: sum(n in known for n in t.values()))


class _Merged(Mapping[str, np.ndarray]):
    """The base's tensors, changed as an adapter says, each when it is asked for."""

    def __init__(
        self,
        base: Mapping,
        adapter: Adapter,
        over: Mapping[str, tuple[Mapping, str]],
        *,
        matrices: Mapping[str, str],
    ):
        self._base, self._adapter, self._over = base, adapter, over
        self._stems = {own: name.removesuffix(".weight") for name, own in matrices.items()}
        self.shapes, self.dtypes = base.shapes, base.dtypes

    def __getitem__(self, name: str) -> np.ndarray:
        source, old = self._over.get(name, (self._base, name))
        x = source[old].astype(self.dtypes[name], copy=False)
        if name not in self._stems:
            return x
        stem, tensors = self._stems[name], self._adapter.tensors
        a, b = (tensors[stem + end].astype(np.float32) for end in (A, B))
        scaling = np.float32(self._adapter.alpha / self._adapter.rank)
        return (x.astype(np.float32) + scaling * (b @ a)).astype(x.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def adapter_table(base: Table, skeleton: Skeleton, *, rank: int, paths: set[str]) -> tuple:
    """Table and shapes of the branches of the linears at `paths`, from the model's own table.

    `q_proj.weight`, [D,N,H] <-> (N*H, D), gives `q_proj.lora_A.weight`, [D,r] <-> (r, D), and
    `q_proj.lora_B.weight`, [r,N,H] <-> (N*H, r).

    Returns:
      (table, skeleton): for `views.params_of` and `views.TorchView`.
    """
    sides = {LINEAR: (LINEAR, LINEAR), SPLIT_HEADS: (LINEAR, SPLIT_HEADS)}
    sides[MERGE_HEADS] = (MERGE_HEADS, LINEAR)
    entries, shapes, axes = {}, {}, {}
    for name, (kernel, transform) in base.entries.items():
        linear = kernel.removesuffix(".kernel")
        if linear not in paths:
            continue
        stem = name.removesuffix(".weight")
        for end, ours, side in zip((A, B), ("lora_a", "lora_b"), sides[transform], strict=True):
            entries[PREFIX + stem + end] = (f"{linear}.{ours}", side)
        spec, named = skeleton.shapes[kernel], skeleton.axes[kernel]
        lead = 1 if named[:1] == ("layers",) else 0
        inputs = lead + transform.groups[0]
        for ours, shape, axis in (
            ("lora_a", (*spec.shape[:inputs], rank), named[:inputs]),
            ("lora_b", (*spec.shape[:lead], rank, *spec.shape[inputs:]), named[:lead]),
        ):
            shapes[f"{linear}.{ours}"] = type(spec)(shape, np.float32)
            axes[f"{linear}.{ours}"] = axis
    return Table(entries), Skeleton(shapes, axes, skeleton.treedef)


def write_config(folder: epath.Path, lora: LoRA, *, modules: list[str], base: str) -> None:
    """`adapter_config.json` as peft reads it; `modules` are the ends of the adapted names."""
    config: dict[str, Any] = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
