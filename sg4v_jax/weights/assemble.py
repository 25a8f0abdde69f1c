"""One model from one or several checkpoints: what `import`, `export` and `verify` work on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import CheckpointError, ConfigError
from sg4v_jax.models.lora import is_lora
from sg4v_jax.models.params import Skeleton, skeleton
from sg4v_jax.models.video_lm import VideoLM, VideoLMConfig
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.weights import (
    fresh_projector,
    gguf_source,
    gguf_tokenizer,
    hf_settings,
    lora,
    orbax_params,
    preset_facts,
    store,
    video_lm,
)
from sg4v_jax.weights.facts import Facts
from sg4v_jax.weights.source import (
    TOKENIZER,
    Source,
    is_model_directory,
    local_folder,
    open_source,
)
from sg4v_jax.weights.table import ignored
from sg4v_jax.weights.views import Param, Params, TorchView, params_from


@dataclasses.dataclass(frozen=True)
class Assembled:
    """A whole model whose weights are still where they were.

    Attributes:
      settings: its dataclasses and tokenizer.
      params: views by path; with low-rank branches where `settings.lora` is set.
      skeleton: its structure, branches left out.
      notes: what a user should know, a sentence each.
    """

    settings: store.ModelSettings
    params: Params
    skeleton: Skeleton
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Where a model comes from; each field is a flag of `sg4v convert`.

    Attributes:
      source: model directory, checkpoint folder or file, adapter folder, or hub id.
      base: of an adapter; tower, projector: sources of parts that `source` does not have.
      tokenizer: file or folder, where the source has none.
      given: settings by name (`facts.parse`).
      revision: of hub ids.
      fresh_projector: seed of a new, random projector between a decoder and a tower.
      preset: of `models.video_lm.PRESETS`; says what no file of the parts can, and what the
        result must be.
    """

    source: str
    base: str | None = None
    tower: str | None = None
    projector: str | None = None
    tokenizer: str | None = None
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    revision: str | None = None
    fresh_projector: int | None = None
    preset: str | None = None


def model(request: Request) -> Assembled:
    """The model that `request` describes.

    Raises:
      CheckpointError: files or settings missing, damaged or contradicting each other.
      ConfigError: parts given twice.
    """
    folder = local_folder(request.source, revision=request.revision)
    if is_model_directory(folder):
        return _own(folder)
    sources = part_sources(request)
    joined = preset_facts.given(request.preset) if request.preset else {}
    facts = Facts(where=request.source, given=joined | request.given)
    config = hf_settings.video_config(sources, facts)
    facts.finish()
    if request.preset:
        preset_facts.check(config, preset=request.preset, where=request.source)
    shapes = structure(config)
    tied, params, seen = config.llm.tie_word_embeddings, {}, []
    for source in sources.values():
        if not any(source is s for s in seen):
            seen.append(source)
            own = tuple(p for p in source.parts if sources[p] is source)
            params |= dataclasses.replace(source, parts=own).params(shapes, tied=tied)
    tokenizer = _tokenizer(request, [folder, *(s.folder for s in seen)])
    notes = _vocabulary(config, tokenizer, where=request.source)
    inputs = hf_settings.input_spec(config, request.given)
    settings = store.ModelSettings(config, inputs, tokenizer)
    return Assembled(settings, params, shapes, (*notes, *_left_out(seen)))


def merged(own: Assembled) -> Assembled:
    """The model without low-rank branches, which are added to their matrices: `W + s A B`.

    In f32, rounded once, one layer at a time when it is read.
    """
    spec = own.settings.lora
    if spec is None:
        return own
    params = {path: p for path, p in own.params.items() if not is_lora(path)}
    for path in {path.rpartition(".")[0] for path in own.params if is_lora(path)}:
        kernel, a, b = (own.params[f"{path}.{end}"] for end in ("kernel", "lora_a", "lora_b"))
        read = functools.partial(_merged_piece, kernel, a, b, scaling=spec.scaling)
        params[f"{path}.kernel"] = dataclasses.replace(kernel, read=read)
    settings = dataclasses.replace(own.settings, lora=None)
    return dataclasses.replace(own, settings=settings, params=params)


def _merged_piece(kernel: Param, a: Param, b: Param, layer: int | None, *, scaling: float):
    w, a, b = (np.asarray(p.read(layer), np.float32) for p in (kernel, a, b))
    product = a.reshape(-1, a.shape[-1]) @ b.reshape(b.shape[0], -1)
    return (w + np.float32(scaling) * product.reshape(w.shape)).astype(kernel.dtype)


def structure(config: VideoLMConfig) -> Skeleton:
    """The skeleton of a model with `config`."""
    return skeleton(lambda key: VideoLM(config, key=key))


def whole_source(request: Request) -> Source:
    """The checkpoint that `request.source` names, an adapter merged into its base."""
    folder = local_folder(request.source, revision=request.revision)
    if not folder.is_dir() or not lora.is_adapter(folder):
        return dataclasses.replace(open_source(folder), name=request.source)
    adapter = lora.open_adapter(folder)
    base = request.base or adapter.base
    if not base:
        raise ConfigError(f"{folder} is an adapter", mend="name its base model with --base")
    try:
        found = local_folder(base, revision=request.revision)
    except CheckpointError as e:
        raise CheckpointError(
            f"{folder}: its base model {base} is not there ({e.message})", mend="give --base"
        ) from e
    if is_model_directory(found):
        return lora.merged(adapter, as_source(_own(found), layout="llava", name=base))
    return lora.merged(adapter, dataclasses.replace(open_source(found), name=base))


def as_source(own: Assembled, *, layout: str, name: str) -> Source:
    """A model of ours as a checkpoint in `layout`."""
    table = video_lm.table(own.settings.config, layout=layout)
    tensors = TorchView(own.params, table, own.skeleton)
    return Source(name, files.path(name), tensors, layout, tuple(video_lm.PARTS), {}, {})


def part_sources(request: Request) -> dict[str, Source]:
    """For each part of a model, the checkpoint that it comes from.

    Raises:
      ConfigError: a part is there twice.
      CheckpointError: a part is nowhere.
    """
    main = whole_source(request)
    found = dict.fromkeys(main.parts, main)
    for flag, name in (("tower", request.tower), ("projector", request.projector)):
        if name is None:
            continue
        source = open_source(name, revision=request.revision)
        if flag not in source.parts:
            raise CheckpointError(f"--{flag}={name} has no {flag}", mend="give one that has")
        if flag in main.parts:
            raise ConfigError(
                f"{request.source} has a {flag} of its own", mend=f"leave --{flag} out"
            )
        wanted = ("projector", "newline") if flag == "projector" else ("tower",)
        found |= {p: source for p in wanted if p in source.parts and p not in found}
    if request.fresh_projector is not None:
        if "projector" in found:
            raise ConfigError(
                f"{request.source} has a projector already", mend="leave --fresh_projector out"
            )
        if "llm" in found and "tower" in found:
            fresh = fresh_projector.source(
                llm=found["llm"], tower=found["tower"], seed=request.fresh_projector
            )
            found |= dict.fromkeys(fresh.parts, fresh)
    lacking = [part for part in video_lm.PARTS if part not in found]
    if lacking:
        flags = {"tower": "--tower", "projector": "--projector", "newline": "--projector"}
        raise CheckpointError(
            f"{request.source} (layout {main.layout}) has no {', '.join(lacking)}",
            mend="name a source of it with "
            + ", ".join(dict.fromkeys(flags.get(p, "--source") for p in lacking)),
        )
    return {part: found[part] for part in video_lm.PARTS}


def _own(folder: epath.Path) -> Assembled:
    settings = store.load_settings(folder)
    shapes = structure(settings.config)
    if orbax_params.is_there(folder):
        return Assembled(settings, params_from(orbax_params.read(folder), shapes), shapes)
    flat = store.load_params(folder, merge_lora=False)
    axes = dict(shapes.axes)
    for path in filter(is_lora, flat):  # a branch is stacked where its kernel is
        axes[path] = axes[path.rpartition(".")[0] + ".kernel"]
    return Assembled(settings, params_from(flat, dataclasses.replace(shapes, axes=axes)), shapes)


def _tokenizer(request: Request, folders: list[epath.Path]) -> Tokenizer:
    if request.tokenizer:
        path = local_folder(request.tokenizer, revision=request.revision)
        return Tokenizer.from_file(path / TOKENIZER if path.is_dir() else path)
    for folder in folders:
        if folder.suffix == gguf_source.SUFFIX and not folder.is_dir():
            return gguf_tokenizer.read(folder)
        if folder.is_dir() and (folder / TOKENIZER).exists():
            return Tokenizer.from_file(folder / TOKENIZER)
    raise CheckpointError(
        f"{request.source}: no {TOKENIZER}", mend="put it there, or name it with --tokenizer"
    )


def _vocabulary(config: VideoLMConfig, tokenizer: Tokenizer, *, where: str) -> list[str]:
    """The rule: every row of the source is kept; more rows than ids is said, fewer is an error."""
    rows, ids = config.llm.vocab_size, tokenizer.vocab_size
    if ids > rows:
        raise CheckpointError(
            f"{where}: the tokenizer has {ids} ids, the embedding {rows} rows",
            mend="use the tokenizer that belongs to these weights (--tokenizer)",
        )
    if ids == rows:
        return [f"vocabulary: {rows} rows, one for each id of the tokenizer"]
    spare = f"the tokenizer has {ids} ids; the last {rows - ids} have no text"
    return [f"vocabulary: {rows} rows are kept, {spare}"]


def _left_out(sources: list[Source]) -> list[str]:
    notes = []
    for source in sources:
        table = video_lm.part_table(source.layout, parts=source.parts)
        if count := len(ignored(table, source.tensors)):
            notes.append(f"{source.name}: {count} tensors that this model does not use, not taken")
    return notes
