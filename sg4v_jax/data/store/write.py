"""Renders records into a store: a shard at a time, in parallel, going on where it was stopped.

The work is a job of the jobs room, in `OUT/job`, of one item a shard: any number of processes and
machines may work on it, each may die at any time, and a shard appears whole or not at all. The
folder goes when the store is finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from array_record.python.array_record_module import ArrayRecordWriter
from rich.console import Console

from sg4v_jax import files, jobs
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.data.store import catalog, pictures, seal
from sg4v_jax.data.store.catalog import Catalog, Shard
from sg4v_jax.errors import ConfigError, RecordError, Sg4vError, StorageError, WorkdirError
from sg4v_jax.jobs.worker import LEASE
from sg4v_jax.video.decode import TIME_LIMIT

A_SHARD = 256  # records: about 150 MB of views
_KEPT = 16  # encoded videos: a few MB
_OPTIONS = "group_size:1,uncompressed"  # pictures are compressed already


def write_shards(
    records: Sequence[Record],
    *,
    out: str | os.PathLike,
    spec: InputSpec,
    shards: int = 0,
    codec: str = pictures.DEFAULT,
    store_as: str = "views",
    workers: int = 1,
    max_skipped: float = 0.01,
    seconds: float = TIME_LIMIT,
    lease: float = LEASE,
    console: Console | None = None,
) -> Catalog:
    """Makes the store `out` of `records`, their pictures as training would see them.

    Called again with the same arguments it goes on, or says at once that all is done; what was
    rendered is not rendered again. Text, ids and order stay as given.

    Args:
      workers: processes that render; 0 renders in this one.
      max_skipped: share of records that may fall out because they cannot be rendered.
      lease: seconds after which the shard of a worker that was killed is taken up again.
      others: as `plan_store`.

    Raises:
      As `plan_store`.
      RecordError: too many records cannot be rendered; names the first. What was rendered stays.
      StorageError: the disk is full.
    """
    how = dict(shards=shards, codec=codec, store_as=store_as, seconds=seconds)
    plan = plan_store(records, out=out, spec=spec, **how)
    if plan.there is not None:
        return plan.there
    job = jobs.open_store(str(files.path(out) / catalog.JOB))
    settings = {"made": plan.made, "by": plan.by}
    jobs.begin(job, plan.items, shard_size=1, settings=settings)
    if workers:
        jobs.run_pool(job, plan.render, workers=workers, attempts=1, lease=lease, console=console)
    else:
        jobs.work(job, plan.render, attempts=1, lease=lease)
    return plan.finish(list(jobs.merge(job)), max_skipped=max_skipped)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A store to be made.

    Attributes:
      items: one for each shard, JSON values; `render` makes a row of each, in any process.
      made, by: as in `Catalog`.
      there: the store, where it is finished already.
    """

    out: str
    items: list[dict[str, Any]]
    render: Renderer
    made: dict[str, Any]
    by: str
    there: Catalog | None

    def finish(self, rows: Sequence[Mapping[str, Any]], *, max_skipped: float) -> Catalog:
        """Checks what the workers say against the files, and closes the store.

        Args:
          rows: those of all items, in their order.

        Raises:
          RecordError: more than the share `max_skipped` of the records could not be rendered.
          StorageError: a shard failed.
        """
        store = _finished(rows, plan=self, max_skipped=max_skipped)
        job = files.path(self.out) / catalog.JOB
        if job.exists():
            job.rmtree()
        return store


def plan_store(
    records: Sequence[Record],
    *,
    out: str | os.PathLike,
    spec: InputSpec,
    shards: int = 0,
    codec: str = pictures.DEFAULT,
    store_as: str = "views",
    seconds: float = TIME_LIMIT,
) -> Plan:
    """What there is to do for a store of `records`; for those who run it by other means.

    Args:
      out: the store's folder, local or `gs://`.
      spec: how videos are shown; its frames, band, cap and rule decide the pictures, its tiling
        the views.
      shards: files; 0 for one every `A_SHARD` records. Their order and sizes do not matter to
        training, which reads records by number.
      codec: tiff, png, webp, ppm (exact) or jpeg[:QUALITY]; see `pictures`.
      store_as: `views`: the two scales that tiles are made of, which is small and needs no
        resizing at read, for this tiling alone. `grid`: the whole picture, for any tiling.
      seconds: how long one video may take.

    Raises:
      ConfigError: an unknown `codec` or `store_as`, no records, or fewer than 0 shards.
      WorkdirError: `out` is a finished store of other records or settings.
    """
    codec = pictures.check_codec(codec)
    if store_as not in catalog.PICTURES or shards < 0 or not records:
        raise ConfigError(
            f"a store of {len(records)} records, shards={shards}, store_as={store_as!r}",
            mend=f"give records, 0 or more shards, and one of {', '.join(catalog.PICTURES)}",
        )
    count = min(shards or -(-len(records) // A_SHARD), len(records))
    made = catalog.made_with(spec, pictures=store_as, codec=codec)
    items = _items(records, count=count)
    by = _digest(items, made)
    there = None
    if (files.path(out) / catalog.STORE).exists():
        there = _same(catalog.load(out), by=by)
    render = Renderer(os.fspath(out), spec, store_as, codec, seconds)
    return Plan(os.fspath(out), items, render, made, by, there)


def _items(records: Sequence[Record], *, count: int) -> list[dict[str, Any]]:
    """One item a shard: its number, how many there are, and its records as JSON."""
    folder = common_folder(records)
    borders = [len(records) * k // count for k in range(count + 1)]
    return [
        {
            "id": f"{number:05d}",
            "shards": count,
            "folder": folder,
            "records": [r.as_json() for r in records[borders[number] : borders[number + 1]]],
        }
        for number in range(count)
    ]


def common_folder(records: Sequence[Record]) -> str:
    """The folder above all files that `records` show: it stays out of the names in a store."""
    folders = {os.path.dirname(v.path) for r in records for v in r.visuals}
    if not folders or len({os.path.isabs(f) for f in folders}) > 1:
        return ""
    return os.path.commonpath(folders)


def _digest(items: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> str:
    h = hashlib.sha256(json.dumps(made, sort_keys=True).encode())
    for item in items:
        h.update(json.dumps(item, sort_keys=True).encode())
    return h.hexdigest()


def _same(store: Catalog, *, by: str) -> Catalog:
    if store.by != by:
        raise WorkdirError(
            f"{store.folder} is a finished store of other records or settings",
            mend="choose another folder, or remove that one",
        )
    return store


@dataclasses.dataclass(frozen=True)
class Renderer:
    """Job function: renders one shard, writes its file, and tells what is in it."""

    out: str
    spec: InputSpec
    store_as: str
    codec: str
    seconds: float

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [self._shard(item) for item in items]

    def _shard(self, item: Mapping[str, Any]) -> dict[str, Any]:
        name = catalog.shard_name(int(item["id"]), item["shards"])
        with tempfile.TemporaryDirectory(prefix="sg4v_store_", dir=_beside(self.out)) as folder:
            local = os.path.join(folder, name)
            try:
                about = self._write(item, local)
            except (OSError, RuntimeError) as e:  # the ArrayRecord library's own
                raise StorageError(
                    f"cannot write {name} to {folder}: {str(e).splitlines()[0]:.200}",
                    mend="free some space, then run again: what is done stays done",
                ) from e
            count, size = len(about["lines"]), os.path.getsize(local)
            shard = Shard(name, count, size, catalog.sha256_of(local))
            files.put(local, files.path(self.out) / name)
        return {"id": item["id"], "error": None, "shard": dataclasses.asdict(shard), **about}

    def _write(self, item: Mapping[str, Any], local: str) -> dict[str, Any]:
        """Writes the shard's records to the file `local`; gives their text and what fell out."""
        encoder = Encoder(self.spec, self.store_as, self.codec, self.seconds)
        lines, skipped, size = [], [], 0
        writer = ArrayRecordWriter(local, _OPTIONS)
        for value in item["records"]:
            record = Record.from_json(value)
            try:
                line, features = encoder.record(record, folder=item["folder"])
            except Sg4vError as e:
                skipped.append([record.where, e.message])
                continue
            data = seal.encode_flat(features)
            writer.write(data)
            size += len(data)
            lines.append(line | {"shard": int(item["id"]), "number": len(lines)})
        writer.close()
        return {"lines": lines, "skipped": skipped, "size": size}


class Encoded(NamedTuple):
    """A picture as a store keeps it: encoded, the overview where it is kept, and about it."""

    picture: bytes
    overview: bytes | None
    size: tuple[int, int]
    substituted: int


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Renders and encodes what a record shows; the last videos are kept for their next question.

    Attributes: as `write_shards`.
    """

    spec: InputSpec
    store_as: str
    codec: str
    seconds: float = TIME_LIMIT
    _kept: dict[Visual, Encoded] = dataclasses.field(default_factory=dict, repr=False)

    def record(self, record: Record, *, folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """A record's text with the sizes of its pictures, and the features of `example_of`.

        Args:
          folder: what is left out in front of the names of its files.

        Raises:
          VideoError: a video or image that cannot be used.
        """
        shown = [self._encoded(v, where=record.where) for v in record.visuals]
        line = {
            "id": record.id,
            "part": record.part,
            "conversations": seal.conversation(record),
            "visuals": [
                _about(v, folder=folder, shown=s)
                for v, s in zip(record.visuals, shown, strict=True)
            ],
        }
        overviews = [s.overview for s in shown if s.overview is not None]
        pictures_ = [s.picture for s in shown]
        return line, seal.example_of(line, pictures=pictures_, overviews=overviews)

    def _encoded(self, visual: Visual, *, where: str) -> Encoded:
        if visual not in self._kept:
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[visual] = self._encode(visual, where=where)
        return self._kept[visual]

    def _encode(self, visual: Visual, *, where: str) -> Encoded:
        views, whole = self.spec.views(visual, seconds=self.seconds)
        height, width = whole.pixels.shape[:2]
        size = visual.slot.size if visual.slot else (width, height)
        if self.store_as == "views":
            both = (pictures.encode(pixels, self.codec) for pixels in views)
            return Encoded(*both, size, whole.substituted)
        if size != (width, height):
            raise RecordError(f"{where}: comes from a store of views", mend="store it as views")
        return Encoded(pictures.encode(whole.pixels, self.codec), None, size, whole.substituted)


def _about(visual: Visual, *, folder: str, shown: Encoded) -> dict[str, Any]:
    path = visual.path
    if folder and path.startswith(f"{folder}/"):
        path = path[len(folder) + 1 :]
    return {
        "kind": visual.kind,
        "path": path,
        "bounds": visual.bounds,
        "fps": visual.fps,
        "size": list(shown.size),
        "substituted": shown.substituted,
    }


def _beside(out: str) -> str | None:
    """Where shards are made: in the store's folder, so that they only need renaming."""
    if "://" in out:
        return None
    folder = pathlib.Path(out, catalog.JOB)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _finished(rows: Sequence[Mapping[str, Any]], *, plan: Plan, max_skipped: float) -> Catalog:
    failed = [row for row in rows if row["error"] is not None]
    if failed:
        raise StorageError(
            f"{plan.out}: {len(failed)} of {len(rows)} shards failed; {failed[0]['error']}",
            mend=f"remove {plan.out}/{catalog.JOB} and build again",
        )
    shards = [Shard(**row["shard"]) for row in rows]
    skipped = [tuple(pair) for row in rows for pair in row["skipped"]]
    whole = sum(s.records for s in shards) + len(skipped)
    if len(skipped) > max_skipped * whole or whole == len(skipped):
        named = "; ".join(why if where in why else f"{where}: {why}" for where, why in skipped[:3])
        raise RecordError(
            f"{len(skipped)} of {whole} records cannot be rendered: {named}",
            mend="raise data.max_skipped to leave them out; or mend them, remove "
            f"{plan.out}/{catalog.JOB} and build again",
        )
    size = sum(row["size"] for row in rows)
    lines = [line for row in rows for line in row["lines"]]
    seal.describe(plan.out, made=plan.made, shards=shards, size=size)
    seal.finish(plan.out, made=plan.made, shards=shards, lines=lines, skipped=skipped, by=plan.by)
    return catalog.load(plan.out)  # every file is there in its size
