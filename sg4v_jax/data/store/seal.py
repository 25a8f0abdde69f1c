"""Finishes a store: TFDS's description, the records' text in one file, and `store.json` last."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.data.record import Record
from sg4v_jax.data.store import catalog, example, read
from sg4v_jax.data.store.catalog import Catalog, Shard
from sg4v_jax.errors import RecordError

DESCRIPTION = (
    "Conversations about videos, each video rendered as its frame grid and stored at the two "
    "scales at which a vision tower reads it."
)
_METADATA = "metadata.json"
_CLASSES = "tensorflow_datasets.core.features"
_SPEAKERS = {"user": "human", "assistant": "gpt"}


def conversation(record: Record) -> list[dict[str, str]]:
    """A record's turns as LLaVA writes them."""
    return [{"from": _SPEAKERS[t.role], "value": t.content} for t in record.turns]


def example_of(
    line: Mapping[str, Any], *, pictures: Sequence[bytes], overviews: Sequence[bytes]
) -> dict[str, Any]:
    """A record as TFDS's features; `encode_flat` gives its bytes.

    Args:
      line: its text: id, part, conversations, visuals.
      pictures, overviews: encoded, one for each of its visuals; no overviews for whole pictures.
    """
    return {
        "id": line["id"],
        "part": line["part"],
        "conversations": line["conversations"],
        "visuals": json.dumps(line["visuals"], ensure_ascii=False),
        "pictures": list(pictures),
        "overviews": list(overviews),
    }


def encode_flat(features: Mapping[str, Any]) -> bytes:
    """The bytes that TFDS's own writer would write of `example_of`, in another order of fields."""
    turns = features["conversations"]
    return example.encode(
        {
            "id": [features["id"].encode()],
            "part": [features["part"].encode()],
            "conversations/from": [t["from"].encode() for t in turns],
            "conversations/value": [t["value"].encode() for t in turns],
            "visuals": [features["visuals"].encode()],
            "pictures": features["pictures"],
            "overviews": features["overviews"],
        }
    )


def line_of(values: Mapping[str, Sequence[bytes]], *, where: str) -> dict[str, Any]:
    """The text of a record from its Example's lists.

    Raises:
      RecordError: a field is missing or is not what `example_of` puts there.
    """
    try:
        turns = zip(values["conversations/from"], values["conversations/value"], strict=True)
        return {
            "id": values["id"][0].decode(),
            "part": values["part"][0].decode(),
            "conversations": [{"from": a.decode(), "value": b.decode()} for a, b in turns],
            "visuals": json.loads(values["visuals"][0]),
        }
    except (KeyError, IndexError, ValueError) as e:
        raise RecordError(
            f"{where}: a field is missing or wrong: {e!r}", mend="build the store again"
        ) from e


def describe(
    folder: str | os.PathLike, *, made: Mapping[str, Any], shards: Sequence[Shard], size: int
) -> None:
    """Writes what TFDS wants to know of a data set; `size`: bytes of all records together."""
    root = files.path(folder)
    files.write_json(root / _METADATA, {"sg4v": made})
    files.write_json(root / "features.json", features_json())
    files.write_json(root / "dataset_info.json", dataset_info(shards, size=size))


def finish(
    folder: str | os.PathLike,
    *,
    made: Mapping[str, Any],
    shards: Sequence[Shard],
    lines: Iterable[Mapping[str, Any]],
    skipped: Sequence[tuple[str, str]] = (),
    by: str = "",
) -> Catalog:
    """Writes `records.jsonl`, then `store.json`.

    Args:
      lines: the records' text in order, each with `shard` and `number`.
    """
    data, checksum = catalog.lines_bytes(json.dumps(x, ensure_ascii=False) for x in lines)
    files.write_atomic(files.path(folder) / catalog.RECORDS, data)
    store = Catalog(
        folder=os.fspath(folder),
        made=made,
        records=sum(s.records for s in shards),
        records_sha256=checksum,
        shards=tuple(shards),
        skipped=tuple(skipped),
        by=by,
    )
    store.save()
    return store


def seal(
    folder: str | os.PathLike, *, progress: Callable[[Sequence], Iterable] = lambda x: x
) -> Catalog:
    """Makes a folder that TFDS built a finished store; reads every shard once.

    Raises:
      RecordError: it is not one of ours, or a shard is missing, cut, or holds other fields.
    """
    root = files.path(folder)
    if (root / catalog.STORE).exists():
        return catalog.load(folder)
    if (root / catalog.JOB).exists() or not (root / "dataset_info.json").exists():
        return catalog.load(folder)  # says that it is not finished
    info = files.read_json(root / "dataset_info.json")
    try:
        splits = {s["name"]: [int(n) for n in s["shardLengths"]] for s in info["splits"]}
        lengths, made = splits[catalog.SPLIT], files.read_json(root / _METADATA)["sg4v"]
        if info["name"] != catalog.NAME or info.get("fileFormat") != "array_record":
            raise KeyError(f"{info['name']}, {info.get('fileFormat')}")
    except (KeyError, TypeError, ValueError) as e:
        raise RecordError(
            f"{folder}: not a data set of {catalog.NAME} in array_record ({e!r})",
            mend=f"build it with `tfds build {catalog.NAME} --file_format=array_record`",
        ) from e
    shards, lines = [], []
    for number, length in enumerate(progress(lengths)):
        file = catalog.shard_name(number, len(lengths))
        path = str(root / file)
        found = _lines_of(path, number=number, expected=length)
        size = files.path(path).stat().length
        shards.append(Shard(file, len(found), size, catalog.sha256_of(path)))
        lines += found
    return finish(folder, made=made, shards=shards, lines=lines)


def _lines_of(path: str, *, number: int, expected: int) -> list[dict[str, Any]]:
    found = read.count(path)
    if found != expected:
        raise RecordError(f"{path}: {found} records, dataset_info.json says {expected}")
    lines = []
    for k in range(found):
        where = f"{path}: record {k}"
        values = example.decode(read.read_bytes(path, k), where=where)
        lines.append(line_of(values, where=where) | {"shard": number, "number": k})
    return lines


def dataset_info(shards: Sequence[Shard], *, size: int) -> dict[str, Any]:
    """`dataset_info.json`, as TFDS writes it."""
    split = {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": catalog.SPLIT,
        "numBytes": str(size),
        "shardLengths": [str(s.records) for s in shards],
    }
    return {
        "description": DESCRIPTION,
        "fileFormat": "array_record",
        "moduleName": "sg4v_jax.data.tfds_builder",
        "name": catalog.NAME,
        "splits": [split],
        "version": catalog.VERSION,
    }


def features_json() -> dict[str, Any]:
    """`features.json`, as TFDS writes it of `tfds_builder.features`."""
    text = {"pythonClassName": f"{_CLASSES}.text_feature.Text", "text": {}}
    shape = {"dimensions": ["-1", "-1", "3"]}
    image = {
        "pythonClassName": f"{_CLASSES}.image_feature.Image",
        "image": {"dtype": "uint8", "shape": shape},
    }
    turn = _dict({"from": text, "value": text})
    return _dict(
        {
            "id": text,
            "part": text,
            "conversations": _sequence(turn),
            "visuals": text,
            "pictures": _sequence(image),
            "overviews": _sequence(image),
        }
    )


def _dict(features: Mapping[str, Any]) -> dict[str, Any]:
    kind = f"{_CLASSES}.features_dict.FeaturesDict"
    return {"pythonClassName": kind, "featuresDict": {"features": dict(features)}}


def _sequence(feature: Mapping[str, Any]) -> dict[str, Any]:
    kind = f"{_CLASSES}.sequence_feature.Sequence"
    return {"pythonClassName": kind, "sequence": {"feature": dict(feature), "length": "-1"}}
