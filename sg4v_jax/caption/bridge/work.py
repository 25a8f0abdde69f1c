"""A slice of the source to finished lines, arm by arm: what the workers of a build do."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sg4v_jax import files
from sg4v_jax.caption.bridge import slices, styles
from sg4v_jax.caption.bridge.clips import CaptionedClip, Fault, RowFault, fault
from sg4v_jax.caption.bridge.formats import FORMATS, ReadOptions, WriteOptions, llava
from sg4v_jax.caption.bridge.join import OVERLAP, ShortCaptions
from sg4v_jax.caption.bridge.rows import Row, RowReader
from sg4v_jax.data.readers.sharegpt4video import CAPTION_PROMPTS
from sg4v_jax.errors import ConfigError, UnsafePathError, VideoError
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.decode import TIME_LIMIT, probe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Making:
    """What a row becomes; the same in every worker.

    Attributes:
      source: the caption file's format.
      target: the format of what is built.
      styles: the arms, by name.
      seed: of every draw.
      prompts: what captions are asked with, drawn for each clip; None keeps a source's own
        questions and draws from `CAPTION_PROMPTS` where it has none.
      read, write: how.
      fallback: encoding of rows that are not UTF-8.
      only: a regular expression that the paths of videos must match from their start; the others
        are passed over and counted. Empty: all.
      videos: the folder of the videos, to look for each; empty: not looked for.
      limit: most tokens of a caption, above which it is counted as long; 0: not counted.
      tokenizer: the file that counts and cuts.
      shorts: what `ShortCaptions.save` wrote; empty: nothing is joined.
      short_overlap: how well the seconds of a joined caption must fit (`ShortCaptions.of`).
    """

    source: str
    target: str
    styles: tuple[str, ...]
    seed: int = 0
    prompts: tuple[str, ...] | None = None
    read: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    write: WriteOptions = dataclasses.field(default_factory=WriteOptions)
    fallback: str = ""
    only: str = ""
    videos: str = ""
    limit: int = 0
    tokenizer: str = ""
    shorts: str = ""
    short_overlap: float = OVERLAP

    @property
    def settings(self) -> dict[str, Any]:
        """All that lines depend on, as JSON values; no paths, which differ between machines."""
        kept = dataclasses.asdict(self)
        looked = bool(kept.pop("videos"))
        return {k: v for k, v in kept.items() if k not in ("tokenizer", "shorts")} | {
            "prompts": list(self.prompts) if self.prompts is not None else None,
            "styles": list(self.styles),
            "videos_checked": looked,
        }


@dataclasses.dataclass
class BuildWork:
    """`do` of a build's job: slices in, their lines and faults out.

    Args:
      name: the caption file; `layout` and `header` as `slices.cut` found them.
      making: what rows become.
    """

    name: str
    layout: str
    header: bytes
    making: Making

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for item in items:
            part = slices.Slice(item["offset"], item["length"], item["first"])
            lines: list[list[Any]] = []
            faults: list[dict[str, Any]] = []
            decoded = read = passed = 0
            for row in self.reader.rows(slices.read(self.name, part), first=part.first):
                read += 1
                decoded += bool(row.decoded_as)
                for made in self.maker.made(row):
                    if made is None:
                        passed += 1
                    elif isinstance(made, Fault):
                        faults.append(made.as_json())
                    else:
                        lines.append(made)
            yield {
                "id": item["id"],
                "error": None,
                "read": read,
                "decoded": decoded,
                "passed": passed,
                "lines": lines,
                "faults": faults,
            }

    @functools.cached_property
    def reader(self) -> RowReader:
        return RowReader(self.name, self.layout, self.header, self.making.fallback)

    @functools.cached_property
    def maker(self) -> Maker:
        return Maker(self.making)

    def __getstate__(self):  # tokenizers and joined captions are loaded where they are used
        return {k: v for k, v in self.__dict__.items() if k not in ("reader", "maker")}


class Maker:
    """Rows to clips, and clips to the lines of every arm."""

    def __init__(self, making: Making):
        self._making = making
        self._source, self._target = FORMATS[making.source], FORMATS[making.target]
        self._only = only_pattern(making.only)
        self._styles = [styles.parse(name) for name in making.styles]
        tokenizer = Tokenizer.from_file(making.tokenizer) if making.tokenizer else None
        self._tools = styles.Tools(making.seed, tokenizer)
        self._shorts = ShortCaptions.load(making.shorts) if making.shorts else None

    def made(self, row: Row) -> Iterator[list[Any] | Fault | None]:
        """For each clip of the row `[id, place, {arm: [line, style, words, tokens]}]`, or a fault, or
        None for one that is passed over."""
        if row.fault is not None:
            yield fault(row.fault, row.where)
            return
        clips = self._source.read(row.values, self._making.read)
        while True:
            try:
                clip = next(clips)
            except StopIteration:
                return
            except RowFault as e:
                yield fault(e, row.where, _name(row.values))
                return
            if self._only is not None and not self._only.match(clip.video):
                yield None
                continue
            try:
                yield [clip.id, row.where, self.arms(clip)]
            except RowFault as e:
                yield fault(e, row.where, clip.id)

    def arms(self, clip: CaptionedClip) -> dict[str, list[Any]]:
        """The clip's line in each arm.

        Raises:
          RowFault: it cannot be in one of them, and so must be in none.
        """
        if self._shorts is not None and not clip.short:
            clip = dataclasses.replace(
                clip, short=self._shorts.of(clip, overlap=self._making.short_overlap)
            )
        clip = self._looked_at(clip)
        prompt = self._prompt(clip)
        arms = {}
        for style in self._styles:
            text, used = style.text(clip, self._tools)
            tokens = None
            if self._making.limit:
                tokens = len(self._tools.tokenizer.encode(text, special=False))
            line = self._target.write(clip, text, prompt, self._making.write)
            arms[style.name] = [line, used, len(text.split()), tokens]
        return arms

    def _prompt(self, clip: CaptionedClip) -> str:
        prompts = self._making.prompts
        if prompts is None and clip.prompt:
            return clip.prompt
        return random.Random(f"{self._making.seed}/{clip.id}").choice(prompts or CAPTION_PROMPTS)

    def _looked_at(self, clip: CaptionedClip) -> CaptionedClip:
        """The clip, its video found, its frames counted where the target needs them."""
        root = self._making.videos
        if not root:
            return clip
        name = llava.media_of(clip.video, self._making.write)
        try:
            path = files.safe_join(root, name)
        except UnsafePathError as e:  # through a link
            raise RowFault("path leaves its root", field="video", value=name) from e
        if not _there(path):
            raise RowFault("missing video", field="video", value=name)
        if self._making.target != "osp" or clip.frames is not None or clip.format == "osp":
            return clip
        try:
            info = probe(path, seconds=TIME_LIMIT)
        except VideoError as e:
            raise RowFault("unreadable video", field="video", value=e.message) from e
        return dataclasses.replace(clip, frames=(0, info.frames), fps=clip.fps or info.fps)


def only_pattern(text: str) -> re.Pattern | None:
    """`Making.only` as a pattern, None where all are wanted.

    Raises:
      ConfigError: it is no regular expression.
    """
    try:
        return re.compile(text) if text else None
    except re.error as e:
        raise ConfigError(f"only={text!r}: {e}", mend="mend the regular expression") from e


def _there(path: str) -> bool:
    try:
        return os.path.exists(path) if "://" not in path else files.path(path).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _name(values: Mapping[str, Any]) -> str | None:
    for key in ("id", "video_id", "videoID", "path", "video"):
        if isinstance(values.get(key), str):
            return values[key]
    return None
