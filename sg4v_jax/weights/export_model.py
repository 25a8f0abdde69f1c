"""Export: a model to a folder that PyTorch programs read, tensor by tensor, whole or not at all."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable

import numpy as np
import tokenizers
from etils import epath

from sg4v_jax import files
from sg4v_jax.errors import ConfigError
from sg4v_jax.models.lora import is_lora
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.weights import export_dinov2, hf_files, lora, shards, torch_bin, video_lm
from sg4v_jax.weights.assemble import Assembled, structure
from sg4v_jax.weights.model_card import model_card
from sg4v_jax.weights.source import TOKENIZER
from sg4v_jax.weights.table import Table
from sg4v_jax.weights.views import Param, TorchView
from sg4v_jax.weights.whole_folder import whole_folder

LAYOUTS = {  # --layout -> (names, parts)
    "llava": ("llava", tuple(video_lm.PARTS)),
    "hf": ("hf", tuple(video_lm.PARTS)),
    "clip": ("clip", ("tower",)),
    "llama": ("llama", ("llm",)),
}
ROWS = 64  # a widened vocabulary is a multiple of this


def write(
    model: Assembled,
    out: str | os.PathLike,
    *,
    layout: str,
    shard_size: str = "5GB",
    progress: Callable[[int], None] = lambda written: None,
) -> list[str]:
    """Writes `model` (without low-rank branches) in `layout` to the folder `out`.

    Returns:
      What a user should know, a sentence each.

    Raises:
      ConfigError: an unknown layout or size, or `out` has something in it.
      StorageError: no room, or the disk is full or not writable; nothing is left behind.
    """
    limit = shards.parse_size(shard_size)
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r} is unknown", mend=f"use {', '.join(LAYOUTS)}")
    if any(map(is_lora, model.params)):
        raise ConfigError("the model has low-rank branches", mend="merge them (--merge_lora)")
    image_id, notes = None, []
    if layout == "hf":
        model, image_id, notes = with_image_token(model)
    names, parts = LAYOUTS[layout]
    dinov2 = "tower" in parts and export_dinov2.is_dinov2(model.settings.config.tower)
    if dinov2:
        names = export_dinov2.names_of(names)
        if layout == "hf":
            model, more = export_dinov2.at_tile_side(model)
            notes = [*notes, *more]
    cut = video_lm.only(model.skeleton, parts)
    params = {path: model.params[path] for path in cut.shapes}
    table = video_lm.table(model.settings.config, layout=names, parts=parts)
    tensors = TorchView(params, table, cut)
    if dinov2:
        tensors = export_dinov2.renamed(tensors, names=names)
    kinds = {str(d) for d in tensors.dtypes.values()}
    dtype = kinds.pop() if len(kinds) == 1 else "float32"
    with whole_folder(out, size=sum(p.nbytes for p in params.values())) as folder:
        shards.write(folder, tensors, limit=limit, progress=progress)
        values = hf_files.configs(model.settings, layout=layout, dtype=dtype, image_id=image_id)
        for name, value in values.items():
            files.write_json(folder / name, value)
        if layout != "clip":
            _write_text_files(model, folder)
        count = sum(math.prod(s) for s in tensors.shapes.values())
        card = model_card(model.settings, layout=layout, parameters=count, dtype=dtype)
        files.write_atomic(folder / "README.md", card)
    return notes


def _write_text_files(model: Assembled, folder: epath.Path) -> None:
    model.settings.tokenizer.save(folder / TOKENIZER)
    template = hf_files.chat_template(model.settings)
    if template is not None:
        files.write_atomic(folder / "chat_template.jinja", template)


def with_image_token(model: Assembled) -> tuple[Assembled, int, list[str]]:
    """The model with a token `<image>`, which transformers needs, and room for it.

    Rows are added only where the token has none: up to a multiple of `ROWS`, zeros in the
    embedding (which is never read there) and the mean of all rows in the head, whose logit is the
    mean of the others and so never the largest. An embedding that is the head too gets the mean.

    Returns:
      (model, id of the token, notes).
    """
    settings = model.settings
    backend = _backend(settings.tokenizer)
    if backend.token_to_id(hf_files.IMAGE) is None:
        backend.add_special_tokens([hf_files.IMAGE])
    image_id, rows = backend.token_to_id(hf_files.IMAGE), settings.config.llm.vocab_size
    settings = dataclasses.replace(settings, tokenizer=Tokenizer(backend, source="tokenizer"))
    if image_id < rows:
        note = f"vocabulary: {hf_files.IMAGE} is token {image_id}, one of the {rows} rows"
        return dataclasses.replace(model, settings=settings), image_id, [note]
    wide = -(-(image_id + 1) // ROWS) * ROWS
    llm = dataclasses.replace(settings.config.llm, vocab_size=wide)
    config = dataclasses.replace(settings.config, llm=llm)
    params = dict(model.params)
    tied = settings.config.llm.tie_word_embeddings
    params["llm.embed_tokens"] = _widened(params["llm.embed_tokens"], rows=wide, axis=0, mean=tied)
    if "llm.lm_head.kernel" in params:
        params["llm.lm_head.kernel"] = _widened(
            params["llm.lm_head.kernel"], rows=wide, axis=1, mean=True
        )
    what = "the mean of the rows" if tied else "zeros in the embedding, the mean in the head"
    note = (
        f"vocabulary: {hf_files.IMAGE} is token {image_id}, so {rows} rows became {wide} ({what})"
    )
    settings = dataclasses.replace(settings, config=config)
    return Assembled(settings, params, structure(config), model.notes), image_id, [note]


def _backend(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A copy of what `tokenizer` wraps."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(os.path.join(folder, TOKENIZER))
        return tokenizers.Tokenizer.from_file(os.path.join(folder, TOKENIZER))


def _widened(param: Param, *, rows: int, axis: int, mean: bool) -> Param:
    shape = tuple(rows if i == axis else n for i, n in enumerate(param.shape))

    def read(layer: None) -> np.ndarray:
        old = param.read(layer)
        out = np.zeros(shape, param.dtype)
        if axis == 0:
            out[: len(old)] = old
            out[len(old) :] = _mean_of_columns(old.T) if mean else 0
        else:
            out[:, : old.shape[1]] = old
            out[:, old.shape[1] :] = _mean_of_columns(old)[:, None] if mean else 0
        return out

    return Param(shape, param.dtype, None, read)


def _mean_of_columns(x: np.ndarray) -> np.ndarray:
    """f32 means, some rows at a time: the head of an 8B model in f32 would take 2 GB."""
    parts = (x[i : i + 256].astype(np.float32).mean(1) for i in range(0, len(x), 256))
    return np.concatenate(list(parts)).astype(x.dtype)


def write_adapter(
    model: Assembled, out: str | os.PathLike, *, base: str, names: str = "llava"
) -> None:
    """Writes the low-rank branches as the original's training does (`lora.py` shows the files).

    The projector and the tower are written whole, trained or not: the loader puts them in.

    Args:
      base: what `adapter_config.json` names as the base model.

    Raises:
      ConfigError: the model has no branches, or `out` has something in it.
      StorageError: no room, or the disk is full or not writable; nothing is left behind.
    """
    settings = model.settings
    branches = {path: p for path, p in model.params.items() if is_lora(path)}
    if settings.lora is None or not branches:
        raise ConfigError("the model has no low-rank branches", mend="leave --adapter out")
    table = video_lm.table(settings.config, layout=names)
    linears = {path.rpartition(".")[0] for path in branches}
    adapters, shapes = lora.adapter_table(
        table, model.skeleton, rank=settings.lora.rank, paths=linears
    )
    tensors = TorchView(branches, adapters, shapes)
    others = _part_tensors(model, table, parts=("projector",), names=names)
    tower = _part_tensors(model, table, parts=("tower",), names="clip")
    size = sum(p.nbytes for p in model.params.values())
    with whole_folder(out, size=size) as folder:
        shards.write(folder, tensors, limit=1 << 62)
        (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
        modules = sorted({n.split(".lora_")[0].rpartition(".")[2] for n in tensors})
        lora.write_config(folder, settings.lora, modules=modules, base=base)
        torch_bin.write(folder / lora.NON_LORA, {lora.PREFIX + n: x for n, x in others.items()})
        (folder / lora.TOWER).mkdir()
        torch_bin.write(folder / lora.TOWER / "pytorch_model.bin", tower)
        values = hf_files.configs(settings, layout="llava", dtype="bfloat16", image_id=None)
        tower_values = hf_files.configs(settings, layout="clip", dtype="bfloat16", image_id=None)
        for name, value in values.items():
            files.write_json(folder / name, value)
        for name, value in tower_values.items():
            files.write_json(folder / lora.TOWER / name, value)
        _write_text_files(model, folder)


def _part_tensors(model: Assembled, table: Table, *, parts: tuple[str, ...], names: str):
    cut = video_lm.only(model.skeleton, parts)
    table = video_lm.table(model.settings.config, layout=names, parts=parts)
    return TorchView({path: model.params[path] for path in cut.shapes}, table, cut)
