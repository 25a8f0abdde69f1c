"""How a model is shown videos, images and text: one description for training and for chat.

video file -> frames -> grid -> any-resolution tiles and their visual positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from sg4v_jax.data.layout import Sequence1D, anyres_index, expand, overview_index
from sg4v_jax.data.record import Record, Visual
from sg4v_jax.errors import ConfigError, CorruptVideoError, MissingVideoError, RecordError
from sg4v_jax.text.chat import TEMPLATES, Template, Turn, tokenize_chat
from sg4v_jax.text.tokenizer import Tokenizer
from sg4v_jax.video.anyres import AnyRes, geometry, make_tiles, overview_tile
from sg4v_jax.video.decode import probe, sample_frames
from sg4v_jax.video.grid import grid_size, make_grid


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
    """

    anyres: AnyRes
    visual: str
    frames: int
    band: int
    longest_side: int
    template: str
    preamble: str

    def __post_init__(self):
        if self.visual not in ("anyres", "overview"):
            raise ConfigError(f"visual {self.visual!r} is unknown", mend="use anyres or overview")
        if self.template not in TEMPLATES:
            known = ", ".join(TEMPLATES)
            raise ConfigError(f"template {self.template!r} is unknown", mend=f"use {known}")

    @property
    def chat_template(self) -> Template:
        return TEMPLATES[self.template]

    def visual_size(self, visual: Visual) -> tuple[int, int]:
        """(width, height) of the picture that `load` returns, without decoding a frame."""
        if visual.kind == "image":
            with _open_image(visual.path) as image:
                return image.size
        info = probe(visual.path)
        return grid_size(
            info.width,
            info.height,
            n=self.frames,
            band=self.band,
            longest_side=self.longest_side or None,
        )

    def load(self, visual: Visual) -> np.ndarray:
        """The picture of one image place, u8[H,W,3]: an image file, or a video's frame grid.

        Raises:
          VideoError: the file is missing, has no video, or cannot be decoded.
        """
        if visual.kind == "image":
            with _open_image(visual.path) as image:
                try:
                    return np.asarray(image.convert("RGB"))
                except OSError as e:  # pixels are read here, so a cut file is found out here
                    raise CorruptVideoError(f"{visual.path}: not a whole image ({e})") from e
        return self.grid(sample_frames(visual.path, n=self.frames).frames)

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

    def sequence(
        self,
        turns: Sequence[Turn],
        *,
        sizes: Sequence[tuple[int, int]],
        tokenizer: Tokenizer,
        generation: bool,
        normalise: str | None = None,
        where: str = "",
    ) -> tuple[Sequence1D, str | None]:
        """Turns and the sizes of their pictures -> the laid-out sample, and why to drop it."""
        chat = tokenize_chat(
            turns,
            tokenizer,
            self.chat_template,
            generation=generation,
            normalise=normalise,
            where=where,
        )
        images = [self.positions(size) for size in sizes]
        return expand(chat, images=images, patches=self.anyres.patches, where=where), chat.drop

    def record_sequence(
        self, record: Record, *, sizes: Sequence[tuple[int, int]], tokenizer: Tokenizer
    ) -> tuple[Sequence1D, str | None]:
        """`sequence` of a training record."""
        return self.sequence(
            record.turns,
            sizes=sizes,
            tokenizer=tokenizer,
            generation=False,
            normalise="llava" if len(record.visuals) == 1 else None,
            where=record.where,
        )


def _open_image(path: str) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as e:
        raise MissingVideoError(f"{path}: no such image", mend="check the path") from e
    except (UnidentifiedImageError, OSError) as e:
        raise CorruptVideoError(f"{path}: not a readable image ({e})") from e


def sample_lengths(
    record: Record,
    *,
    spec: InputSpec,
    tokenizer: Tokenizer,
    size_of: Callable[[Visual], tuple[int, int]] | None = None,
) -> tuple[tuple[tuple[int, int], ...], tuple[int, int, int]]:
    """The index pass for one record: picture sizes, and (positions, tiles, scored).

    `size_of` stands in for `spec.visual_size`, to look at a video once for all its records.

    Raises:
      RecordError: the sample must be dropped, with the reason (`text.chat.Drop`).
      VideoError: a video or image that cannot be opened.
    """
    sizes = tuple((size_of or spec.visual_size)(v) for v in record.visuals)
    sequence, drop = spec.record_sequence(record, sizes=sizes, tokenizer=tokenizer)
    if drop is None and not len(sequence.loss_index):
        drop = "nothing to train on"
    if drop is not None:
        raise RecordError(f"{record.where}: dropped: {drop}", mend="mend its conversation")
    return sizes, (len(sequence.tokens), sequence.tiles, len(sequence.loss_index))
