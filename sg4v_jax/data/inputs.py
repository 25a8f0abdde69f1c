"""How a model is shown videos, images and text: one description for training and for chat.

video file -> frames -> grid -> any-resolution tiles and their visual positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from sg4v_jax.data.layout import Sequence1D, anyres_index, expand, overview_index, truncate
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.data.store import read as store
from sg4v_jax.errors import ConfigError, CorruptVideoError, MissingVideoError, RecordError
from sg4v_jax.text.chat import TEMPLATES, Template, Turn, tokenize_chat
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.anyres import (
    AnyRes,
    Views,
    geometry,
    join_views,
    make_tiles,
    make_views,
    overview_tile,
)
from sg4v_jax.video.decode import TIME_LIMIT, probe, sample_frames
from sg4v_jax.video.grid import grid_size, make_grid

# How a model may be shown videos; training may draw frames instead (`rand`), chat may not.
SAMPLING = ("run", "mvbench", "tempcompass")


class Picture(NamedTuple):
    """What stands at one image place: `pixels` u8[H,W,3], and frames shown in place of lost ones.

    `substituted` counts a video's places as `video.decode.Decoded` does; 0 for an image file.
    """

    pixels: np.ndarray
    substituted: int


class Shown(NamedTuple):
    """What the tower reads of one image place.

    Attributes:
      tiles: u8[T,R,R,3].
      size: (width, height) of the picture that they are of.
      substituted: as in `Picture`.
    """

    tiles: np.ndarray
    size: tuple[int, int]
    substituted: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What turns a record into a sample; saved beside a checkpoint, so that chat sees the same.

    Attributes:
      anyres: tile side, pinpoints in pixels, patches along a tile's side.
      visual: `anyres` (base view and tiles, as trained) or `overview` (the base view alone).
      frames: frames a video, in a square grid; `band`: white pixels between them;
      longest_side: cap on the grid's longer side, 0 for none.
      template: name of the chat template.
      preamble: text that stands before the first question about a video.
      sampling: the rule that picks a video's frames, one of `SAMPLING`. Where a record gives
        bounds, the frames between them are picked by `mvbench`, the one rule that takes bounds
        (on whole clips it equals `run`).
      double_bos: whether token ids begin with two bos tokens; None: where the tokenizer's own
        post-processor adds one (`text.chat.tokenize_chat`).
    """

    anyres: AnyRes
    visual: str
    frames: int
    band: int
    longest_side: int
    template: str
    preamble: str
    sampling: str = "run"
    double_bos: bool | None = None

    def __post_init__(self):
        if self.visual not in ("anyres", "overview"):
            raise ConfigError(f"visual {self.visual!r} is unknown", mend="use anyres or overview")
        if self.template not in TEMPLATES:
            known = ", ".join(TEMPLATES)
            raise ConfigError(f"template {self.template!r} is unknown", mend=f"use {known}")
        if self.sampling not in SAMPLING:
            raise ConfigError(
                f"sampling {self.sampling!r} is unknown", mend=f"use {', '.join(SAMPLING)}"
            )
        if self.double_bos not in (None, False, True):
            raise ConfigError(
                f"double_bos {self.double_bos!r} is unknown", mend="use True, False or None"
            )

    @property
    def chat_template(self) -> Template:
        return TEMPLATES[self.template]

    def visual_size(self, visual: Visual, *, seconds: float = TIME_LIMIT) -> tuple[int, int]:
        """(width, height) of the picture that `load` returns, without decoding a frame.

        Raises: as `load`.
        """
        if visual.slot is not None:
            return visual.slot.size
        if visual.kind == "image":
            with _open_image(visual.path) as image:
                return image.size
        info = probe(visual.path, seconds=seconds)
        return grid_size(
            info.width,
            info.height,
            n=self.frames,
            band=self.band,
            longest_side=self.longest_side or None,
        )

    def load(
        self,
        visual: Visual,
        *,
        rng: np.random.Generator | None = None,
        seconds: float = TIME_LIMIT,
    ) -> Picture:
        """The picture of one image place: an image file, or a video's frame grid.

        Of a stored picture that is kept as its views, the fitted one.

        Args:
          rng: draws the frames (`rand`, for training) in place of the rule `sampling`.
          seconds: how long one video may take.

        Raises:
          VideoError: the file is missing, has no video, cannot be decoded, or takes too long.
          ConfigError: bounds outside the video, or on frames without a frame rate.
        """
        if visual.slot is not None:
            found = store.read_picture(visual.slot)
            pixels = found.fitted if isinstance(found, Views) else found
            return Picture(pixels, visual.slot.substituted)
        if visual.kind == "image":
            return Picture(_read_image(visual.path), 0)
        decoded = sample_frames(
            visual.path,
            n=self.frames,
            rule="mvbench" if visual.bounds else self.sampling if rng is None else "rand",
            bounds=visual.bounds,
            fps=visual.fps,
            rng=None if visual.bounds else rng,
            seconds=seconds,
        )
        return Picture(self.grid(decoded.frames), decoded.substituted)

    def grid(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Frames u8[h,w,3] -> the grid picture u8[H,W,3]."""
        return make_grid(frames, band=self.band, longest_side=self.longest_side or None)

    def positions(self, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        """Visual positions and number of tiles of a picture of `size` (width, height)."""
        if self.visual == "overview":
            return overview_index(patches=self.anyres.patches), 1
        shape = geometry(size, self.anyres)
        return anyres_index(shape, patches=self.anyres.patches), shape.tiles

    def tiles(self, picture: np.ndarray) -> np.ndarray:
        """u8[H,W,3] -> u8[T,R,R,3]."""
        cut = overview_tile if self.visual == "overview" else make_tiles
        return cut(picture, self.anyres)

    def show(
        self,
        visual: Visual,
        *,
        rng: np.random.Generator | None = None,
        seconds: float = TIME_LIMIT,
    ) -> Shown:
        """The tiles of one image place, from its file or from a store; the same to the bit.

        Args: as `load`.
        Raises: as `load`; of a stored picture, CorruptVideoError where it is damaged.
        """
        if visual.slot is None:
            picture = self.load(visual, rng=rng, seconds=seconds)
            height, width = picture.pixels.shape[:2]
            return Shown(self.tiles(picture.pixels), (width, height), picture.substituted)
        size, substituted = visual.slot.size, visual.slot.substituted
        if self.visual == "overview":
            overview = store.read_overview(visual.slot)
            if overview is not None:
                return Shown(overview[None], size, substituted)
        found = store.read_picture(visual.slot)
        if isinstance(found, Views):
            return Shown(join_views(found, size=size, spec=self.anyres), size, substituted)
        height, width = found.shape[:2]
        return Shown(self.tiles(found), (width, height), substituted)

    def views(self, visual: Visual, *, seconds: float = TIME_LIMIT) -> tuple[Views, Picture]:
        """What a store keeps of one image place, and the whole picture where there is one.

        Raises: as `show`.
        """
        picture = self.load(visual, seconds=seconds)
        found = store.read_picture(visual.slot) if visual.slot is not None else picture.pixels
        return found if isinstance(found, Views) else make_views(found, self.anyres), picture

    def sequence(
        self,
        turns: Sequence[Turn],
        *,
        sizes: Sequence[tuple[int, int]],
        tokenizer: Tokenizer,
        generation: bool,
        normalise: str | None = None,
        system: str | None = None,
        where: str = "",
    ) -> tuple[Sequence1D, str | None]:
        """Turns and the sizes of their pictures -> the laid-out sample, and why to drop it.

        Args:
          system: text of the system block in place of the template's own.
        """
        template = self.chat_template
        if system is not None:
            template = dataclasses.replace(template, system=system)
        chat = tokenize_chat(
            turns,
            tokenizer,
            template,
            generation=generation,
            normalise=normalise,
            double_bos=self.double_bos,
            where=where,
        )
        images = [self.positions(size) for size in sizes]
        return expand(chat, images=images, patches=self.anyres.patches, where=where), chat.drop

    def record_sequence(
        self,
        record: Record,
        *,
        sizes: Sequence[tuple[int, int]],
        tokenizer: Tokenizer,
        positions: int | None = None,
    ) -> tuple[Sequence1D, str | None]:
        """`sequence` of a training record, cut to `positions` where that is given."""
        sequence, drop = self.sequence(
            record.turns,
            sizes=sizes,
            tokenizer=tokenizer,
            generation=False,
            normalise="llava" if len(record.visuals) == 1 else None,
            where=record.where,
        )
        if positions is not None:
            sequence = truncate(sequence, positions=positions, patches=self.anyres.patches)
        return sequence, drop


def _open_image(path: str) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as e:
        raise MissingVideoError(f"{path}: no such image", mend="check the path") from e
    except Exception as e:  # Pillow's formats raise many types, for bombs and for damage
        raise CorruptVideoError(
            f"{path}: not a readable image ({e})", mend="fetch the file again, or leave it out"
        ) from e


def _read_image(path: str) -> np.ndarray:
    """u8[H,W,3] of an image file."""
    with _open_image(path) as image:
        try:
            return np.asarray(image.convert("RGB"))
        except Exception as e:  # pixels are read here, so a cut file is found out here
            raise CorruptVideoError(
                f"{path}: not a whole image ({e})", mend="fetch the file again, or leave it out"
            ) from e


def check_media(visual: Visual, *, seconds: float = TIME_LIMIT) -> None:
    """Looks into the file of `visual`: an image is read whole, a video to its last packet.

    Of a stored picture, its shard is opened and must hold the record.

    Raises:
      MissingVideoError: no such file.
      VideoError: it cannot be used.
    """
    if visual.slot is not None:
        store.read_picture(visual.slot)
    elif visual.kind == "image":
        _read_image(visual.path)
    else:
        probe(visual.path, seconds=seconds)


class Measured(NamedTuple):
    """What the index pass learns of one record."""

    sizes: tuple[tuple[int, int], ...]  # (width, height) of its pictures
    lengths: tuple[int, int, int]  # positions, tiles, scored positions
    cut: bool  # whether the sample was longer


def measure(
    record: Record,
    *,
    spec: InputSpec,
    tokenizer: Tokenizer,
    size_of: Callable[[Visual], tuple[int, int]] | None = None,
    positions: int | None = None,
) -> Measured:
    """The index pass for one record.

    Args:
      size_of: stands in for `spec.visual_size`, to look at a video once for all its records.
      positions: cut the sample to as many (`layout.truncate`).

    Raises:
      RecordError: the sample must be dropped, with the reason (`text.chat.Drop`).
      VideoError: a video or image that cannot be opened.
    """
    sizes = tuple((size_of or spec.visual_size)(v) for v in record.visuals)
    whole, drop = spec.record_sequence(record, sizes=sizes, tokenizer=tokenizer)
    sequence = whole
    if positions is not None:
        sequence = truncate(whole, positions=positions, patches=spec.anyres.patches)
    if drop is None and not len(sequence.loss_index):
        drop = "nothing to train on"
        if sequence is not whole:
            drop += f" in its first {positions} of {len(whole.tokens)} positions"
    if drop is not None:
        raise RecordError(f"{record.where}: dropped: {drop}", mend="mend its conversation")
    lengths = (len(sequence.tokens), sequence.tiles, len(sequence.loss_index))
    return Measured(sizes, lengths, sequence is not whole)
