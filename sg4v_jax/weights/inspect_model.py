"""Inspect: what a checkpoint is, from its headers and JSON files alone."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

from sg4v_jax.errors import CheckpointError
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.weights import gguf_source, gguf_tokenizer, hf_settings, lora, video_lm
from sg4v_jax.weights.facts import Facts
from sg4v_jax.weights.source import (
    TOKENIZER,
    Source,
    is_model_directory,
    local_folder,
    open_source,
)
from sg4v_jax.weights.table import ignored


@dataclasses.dataclass(frozen=True)
class Report:
    """What `inspect` found; `as_rows` is for people.

    Attributes:
      kind: checkpoint, adapter or model directory.
      layout: of `video_lm.LAYOUTS`, or lora.
      parameters: by part; the sum is the model's.
      dtypes: how many tensors have each.
      tensors, bytes: of all.
      missing, unexpected: names, against the layout's table.
      unused: number of tensors that are known and not needed.
      settings: what the model's dataclasses would be; absent: settings that `--set` must give.
      facts: other findings in words, by subject.
    """

    kind: str
    layout: str
    parameters: Mapping[str, int]
    dtypes: Mapping[str, int]
    tensors: int
    bytes: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unused: int
    settings: Mapping[str, Any]
    absent: tuple[str, ...]
    problems: tuple[str, ...]
    facts: Mapping[str, str]

    def as_rows(self) -> list[tuple[str, str]]:
        """(subject, text) in the order of reading."""
        rows = [("what", f"{self.kind}, layout {self.layout}")]
        rows += [(f"parameters, {part}", f"{n:,}") for part, n in self.parameters.items()]
        rows.append(("parameters", f"{sum(self.parameters.values()):,}"))
        kinds = ", ".join(f"{n} in {dtype}" for dtype, n in self.dtypes.items())
        rows.append(("tensors", f"{self.tensors} ({kinds}), {self.bytes / 1e9:.3f} GB"))
        rows += list(self.facts.items())
        rows += [(f"setting {key}", str(value)) for key, value in self.settings.items()]
        for title, names in (
            ("not said by any file", self.absent),
            ("contradiction", self.problems),
            ("missing", self.missing),
            ("unexpected", self.unexpected),
        ):
            rows += [(title, _shortened(names))] if names else []
        if self.unused:
            rows.append(("not needed", f"{self.unused} tensors"))
        return rows


def inspect(name: str, *, revision: str | None = None) -> Report:
    """Looks at a model directory, a checkpoint, an adapter, or a hub repository.

    Raises:
      CheckpointError: nothing there, damaged files, or names of no known layout.
    """
    folder = local_folder(name, revision=revision)
    if is_model_directory(folder):
        from sg4v_jax.weights import assemble  # brings Orbax, which a checkpoint does not need

        own = assemble.model(assemble.Request(source=name))
        source = assemble.as_source(own, layout="llava", name=name)
        facts = {"low-rank branches": str(own.settings.lora)} if own.settings.lora else {}
        return _report(source, folder, kind="model directory", facts=facts)
    if folder.is_dir() and lora.is_adapter(folder):
        return _adapter_report(lora.open_adapter(folder))
    facts = {"low-rank branches": "none, or merged"}
    source = dataclasses.replace(open_source(folder), name=name)
    return _report(source, folder, kind="checkpoint", facts=facts)


def _report(source: Source, folder: epath.Path, *, kind: str, facts: Mapping[str, str]) -> Report:
    tied = source.config.get("tie_word_embeddings", False)
    table = video_lm.part_table(source.layout, parts=source.parts, tied=bool(tied))
    stacks = _layers(source)
    expected, needed = {}, []
    for pattern, (path, _) in table.entries.items():
        for i in range(stacks.get(video_lm.part_of(path), 0)) if "{i}" in pattern else [0]:
            expected[pattern.format(i=i)] = video_lm.part_of(path)
            needed += [pattern.format(i=i)] if pattern not in table.optional else []
    unused = set(ignored(table, source.tensors)) | (set(table.copies) & set(source.tensors))
    counts = collections.Counter()
    for tensor, shape in source.tensors.shapes.items():
        counts[expected.get(tensor, "unexpected")] += 0 if tensor in unused else math.prod(shape)
    settings, wrong, absent = _settings(source)
    dtypes = source.tensors.dtypes
    return Report(
        kind=kind,
        layout=source.layout,
        parameters={part: n for part, n in counts.items() if n},
        dtypes=dict(collections.Counter(map(str, dtypes.values()))),
        tensors=len(source.tensors),
        bytes=sum(math.prod(s) * dtypes[n].itemsize for n, s in source.tensors.shapes.items()),
        missing=tuple(n for n in needed if n not in source.tensors.shapes),
        unexpected=tuple(n for n in source.tensors if n not in expected and n not in unused),
        unused=len(unused),
        settings=settings,
        absent=absent,
        problems=wrong,
        facts=facts | _tokenizer_facts(folder),
    )


def _layers(source: Source) -> dict[str, int]:
    layout = video_lm.LAYOUTS[source.layout]
    prefixes = {}
    if "llm" in source.parts:
        prefixes["llm"] = f"{layout.decoder}layers."
    if "tower" in source.parts:
        prefixes["tower"] = f"{layout.tower}encoder.layers."
    found = {}
    for part, prefix in prefixes.items():
        matches = (re.match(rf"{re.escape(prefix)}(\d+)\.", n) for n in source.tensors)
        found[part] = 1 + max((int(m[1]) for m in matches if m), default=-1)
    return found


def _settings(source: Source) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """What files and shapes say; with a `model.json` there is nothing to find out."""
    if not source.config and not source.preprocessor and source.layout == "llava":
        return {}, (), ()
    facts, parts = Facts(where=source.name, given={}), dict.fromkeys(source.parts, source)
    found: dict[str, Any] = {}
    try:
        if set(video_lm.PARTS) <= set(parts):
            config = hf_settings.video_config(parts, facts)
            found = dataclasses.asdict(config) if config else {}
        elif "llm" in parts:
            llm = hf_settings.llm_config(source, facts)
            found = dataclasses.asdict(llm) if llm else {}
        elif "tower" in parts:
            tower = hf_settings.tower_config(source, source, facts)
            found = dataclasses.asdict(tower) if tower else {}
    except KeyError as e:
        facts.wrong.append(f"tensor {e} is missing")
    flat = {}
    for key, value in found.items():
        flat |= (
            {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return flat, tuple(facts.wrong), tuple(facts.absent)


def _tokenizer_facts(folder: epath.Path) -> dict[str, str]:
    inside = folder.suffix == gguf_source.SUFFIX and not folder.is_dir()
    if not inside and not (folder.is_dir() and (folder / TOKENIZER).exists()):
        return {"tokenizer": "none"}
    try:
        if inside:
            tokenizer = gguf_tokenizer.read(folder)
        else:
            tokenizer = Tokenizer.from_file(folder / TOKENIZER)
        bos = "adds a bos" if tokenizer.adds_bos else "adds no bos"
        pad = tokenizer.token_of(tokenizer.pad_id)
        return {"tokenizer": f"{tokenizer.vocab_size} ids, {bos}, pad {pad} ({tokenizer.pad_id})"}
    except CheckpointError as e:
        return {"tokenizer": e.message}


def _adapter_report(adapter: lora.Adapter) -> Report:
    """An adapter without its base: what it changes, not whether that fits."""
    groups = {"lora": adapter.tensors, "others": adapter.others, "tower": adapter.tower}
    groups = {name: tensors for name, tensors in groups.items() if tensors}
    shapes = {g: list(t.shapes.values()) for g, t in groups.items()}
    dtypes = [d for t in groups.values() for d in t.dtypes.values()]
    sizes = [math.prod(s) for t in groups.values() for s in t.shapes.values()]
    ends = collections.Counter(n.rpartition(".")[2] for n in adapter.matrices)
    return Report(
        kind="adapter, not merged",
        layout="lora",
        parameters={g: sum(map(math.prod, s)) for g, s in shapes.items()},
        dtypes=dict(collections.Counter(map(str, dtypes))),
        tensors=len(dtypes),
        bytes=sum(n * d.itemsize for n, d in zip(sizes, dtypes, strict=True)),
        missing=(),
        unexpected=(),
        unused=0,
        settings={},
        absent=(),
        problems=(),
        facts={
            "low-rank branches": f"rank {adapter.rank}, alpha {adapter.alpha:g}, "
            f"dropout {adapter.dropout:g}, in " + ", ".join(f"{n} {e}" for e, n in ends.items()),
            "base model": adapter.base or "not named",
        }
        | _tokenizer_facts(adapter.folder),
    )


def _shortened(names: tuple[str, ...], *, most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
