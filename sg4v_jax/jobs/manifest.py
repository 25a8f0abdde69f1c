"""The manifest: what a job is made of, written once. Another job in its place is refused.

manifest.json                  settings, shard size, and each shard's name, count and sha256
shards/00000-0a1b2c3d.jsonl    the items of a shard, one a line
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg4v_jax.errors import ConfigError, RecordError, WorkdirError
from sg4v_jax.jobs.store import Store

FILE = "manifest.json"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some items that are done and committed together; `name` is stable and sorts in order."""

    name: str
    count: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A job: `settings` (JSON values that results depend on) and the shards of its items."""

    settings: Mapping[str, Any]
    shard_size: int
    shards: tuple[Shard, ...]

    @property
    def items(self) -> int:
        """The number of items of all shards."""
        return sum(shard.count for shard in self.shards)

    @classmethod
    def load(cls, store: Store) -> Manifest:
        """The manifest that `begin` wrote.

        Raises:
          RecordError: there is none, or it is damaged or of another version.
        """
        try:
            value = json.loads(store.read(FILE))
            if value["version"] != VERSION:
                raise RecordError(
                    f"{FILE}: version {value['version']}, this program reads {VERSION}",
                    mend="finish the job with the program that began it, or begin another",
                )
            shards = tuple(Shard(**shard) for shard in value["shards"])
            return cls(value["settings"], value["shard_size"], shards)
        except FileNotFoundError as e:
            raise RecordError(f"no job in {store}: no {FILE}", mend="begin one there") from e
        except (ValueError, KeyError, TypeError) as e:
            raise RecordError(f"{FILE} in {store} is damaged: {e}", mend="begin again") from e

    def read_items(self, store: Store, shard: Shard) -> list[dict[str, Any]]:
        """The items of `shard`.

        Raises:
          RecordError: the shard's file is missing or not the one that was written.
        """
        name = _shard_file(shard)
        try:
            content = store.read(name)
        except FileNotFoundError as e:
            raise RecordError(f"{store}: {name} is missing", mend="begin the job again") from e
        if _sha256(content) != shard.sha256:
            raise RecordError(f"{store}: {name} was changed", mend="begin the job again")
        return _from_lines(content)


def begin(
    store: Store,
    items: Iterable[Mapping[str, Any]],
    *,
    shard_size: int,
    settings: Mapping[str, Any] | None = None,
) -> Manifest:
    """Writes the manifest of a new job, or checks that the one there is of the same job.

    Example: 5 items with `shard_size=2` make shards "00000", "00001" (2 items each), "00002" (1).

    Args:
      store: where the job lives.
      items: JSON objects; each has a non-empty "id" of its own.
      shard_size: items a shard. What a dead worker loses is at most one shard.
      settings: JSON values that results depend on (model, prompt, ...); no secrets, no paths that
        differ between machines.

    Raises:
      RecordError: an item without a usable id, a duplicate id, or a value that is not JSON.
      ConfigError: `shard_size` is below 1.
      WorkdirError: another job lives there; the message names the differences.
    """
    if shard_size < 1:
        raise ConfigError(f"shard_size: {shard_size} is below 1", mend="use 1 or more")
    rows = _checked(items)
    groups = [rows[i : i + shard_size] for i in range(0, len(rows), shard_size)]
    width = max(5, len(str(len(groups))))
    contents = [_lines(group) for group in groups]
    shards = tuple(
        Shard(f"{number:0{width}d}", len(group), _sha256(content))
        for number, (group, content) in enumerate(zip(groups, contents, strict=True))
    )
    try:
        plain = json.loads(json.dumps(dict(settings or {}), allow_nan=False, sort_keys=True))
    except (TypeError, ValueError) as e:
        raise ConfigError(f"settings: {e}", mend="use JSON values only") from e
    new = Manifest(plain, shard_size, shards)

    if FILE not in store.names(""):
        # Shard files carry their own hash in their names, so two jobs that begin in one place at
        # once do not spoil each other's; the manifest then decides whose job it is.
        for shard, content in zip(shards, contents, strict=True):
            store.write(_shard_file(shard), content)
        store.create(FILE, _manifest_bytes(new))
    old = Manifest.load(store)
    if old != new:
        raise WorkdirError(
            f"{store} holds another job:\n    "
            + "\n    ".join(_differences(store, old, new, rows)),
            mend="choose another place, or repeat the job's items and settings",
        )
    return old


def _checked(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows, seen = [], {}
    for number, item in enumerate(items, 1):
        name = item.get("id") if isinstance(item, Mapping) else None
        if not isinstance(name, str) or not name:
            raise RecordError(
                f"item {number}: field 'id': {name!r}", mend="give every item a non-empty string id"
            )
        if name in seen:
            raise RecordError(
                f"items {seen[name]} and {number} have the same id {name!r}", mend="make ids unique"
            )
        seen[name] = number
        try:
            json.dumps(item, allow_nan=False)
        except (TypeError, ValueError) as e:
            raise RecordError(f"item {number} ({name!r}): {e}", mend="use JSON values only") from e
        rows.append(dict(item))
    return rows


def _differences(store: Store, old: Manifest, new: Manifest, rows: Sequence[dict]) -> list[str]:
    found = [
        f"settings.{key}: {old.settings.get(key)!r} there, {new.settings.get(key)!r} now"
        for key in sorted({*old.settings, *new.settings})
        if old.settings.get(key) != new.settings.get(key)
    ]
    if old.shard_size != new.shard_size:
        found.append(f"shard_size: {old.shard_size} there, {new.shard_size} now")
    if old.items != new.items:
        found.append(f"items: {old.items} there, {new.items} now")
    there = (row for shard in old.shards for row in old.read_items(store, shard))
    for number, (a, b) in enumerate(zip(there, rows, strict=False), 1):
        if a != b:
            found.append(f"item {number}: {a!r:.120} there, {b!r:.120} now")
            break
    return found


def _shard_file(shard: Shard) -> str:
    return f"shards/{shard.name}-{shard.sha256[:8]}.jsonl"


def _manifest_bytes(manifest: Manifest) -> bytes:
    value = {
        "version": VERSION,
        "settings": manifest.settings,
        "shard_size": manifest.shard_size,
        "shards": [dataclasses.asdict(shard) for shard in manifest.shards],
    }
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=True, sort_keys=True) + "\n" for r in rows).encode()


def _from_lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
