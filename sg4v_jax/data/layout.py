"""Where visual tokens stand: from image geometry to the gather indices that the model reads.

Legend: `S` positions, `T` tiles a row, `P` patches a tile (`p` along a side), `L` scored positions.

A sample is laid out on its own (`expand`), with tile numbers from 0; packing then shifts them to
its place in a row (`place`). Separators are `SEPARATOR - k` in a sample (their final index
`T*P + k` depends on the row's tile budget) and text is -1 in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sg4v_jax.batch import Batch
from sg4v_jax.errors import RecordError
from sg4v_jax.text.chat import TokenizedChat
from sg4v_jax.video.anyres import Geometry

TEXT = -1
SEPARATOR = -2  # separator k of a sample not yet placed in a row is SEPARATOR - k


class Sequence1D(NamedTuple):
    """One sample, laid out: `n` positions, `m` scored positions."""

    tokens: np.ndarray  # i32[n]
    visual_index: np.ndarray  # i32[n], separators as SEPARATOR - k
    tiles: int
    loss_index: np.ndarray  # i32[m]
    targets: np.ndarray  # i32[m]


def anyres_index(geometry: Geometry, *, patches: int) -> np.ndarray:
    """The visual positions of one image: base view, then the kept plane row by row.

    Args:
      geometry: tiles and the kept part of the patch plane (`video/anyres.py`).
      patches: `p`, patches along a tile's side.

    Returns:
      i32[P + rows * (cols + 1)]: each kept plane row ends with separator 0 (LLaVA's newline).

    Worked example, p = 2, tiles 1 x 2 (a 4 x 2 plane, 2 rows of 4), everything kept; the base
    view is tile 0 (patches 0..3), the tiles are 1 (4..7) and 2 (8..11):

        base    0  1  2  3
        row 0   4  5  8  9 newline
        row 1   6  7 10 11 newline

    With only row 1 kept (unpadding): 0 1 2 3 | 6 7 10 11 newline.
    """
    g, per_tile = geometry, patches * patches
    rows = g.plane_top + np.arange(g.plane_rows)[:, None]
    cols = g.plane_left + np.arange(g.plane_cols)[None, :]
    tile = 1 + (rows // patches) * g.tile_cols + cols // patches
    plane = tile * per_tile + (rows % patches) * patches + cols % patches
    newline = np.full((g.plane_rows, 1), SEPARATOR)
    lines = np.concatenate([plane, newline], axis=1).reshape(-1)
    return np.concatenate([np.arange(per_tile), lines]).astype(np.int32)


def overview_index(*, patches: int) -> np.ndarray:
    """The visual positions of one image seen as its squashed base view alone: 0 .. P-1.

    The original's `run.py`, its demo and two of its three benchmark scripts see videos so (no
    tiles, no newline), although it was trained with any-resolution tiles.
    """
    return np.arange(patches * patches, dtype=np.int32)


def expand(
    chat: TokenizedChat, *, images: Sequence[tuple[np.ndarray, int]], patches: int, where: str = ""
) -> Sequence1D:
    """Widens each image place of `chat` to the image's visual positions.

    Args:
      chat: token ids, trained mask and image places.
      images: for each place in order, (visual positions, number of tiles), as made above.
      patches: `p`.
      where: file and record, for messages.

    Worked example, p = 1, one overview image (index [0], 1 tile), trained marked by *:

        ids           5  IMAGE  7  8*  9*
        tokens        5    0    7  8   9
        visual_index -1    0   -1 -1  -1
        loss_index    2 3        (the outputs at positions 2 and 3 ...)
        targets       8 9        (... should say 8 and 9)

    Raises:
      RecordError: places and images differ in number.
    """
    if len(chat.images) != len(images):
        raise RecordError(
            f"{where}: the text has {len(chat.images)} <image> places for {len(images)} images",
            mend="write one <image> in the conversation for each image or video of the record",
        )
    ids = np.asarray(chat.ids, np.int32)
    trained = np.asarray(chat.trained, bool)
    tokens, visual, mask, tiles, start = [], [], [], 0, 0
    for place, (index, count) in zip(chat.images, images, strict=True):
        tokens += [ids[start:place], np.zeros(len(index), np.int32)]
        shifted = np.where(index >= 0, index + tiles * patches * patches, index)
        visual += [np.full(place - start, TEXT, np.int32), shifted.astype(np.int32)]
        mask += [trained[start:place], np.zeros(len(index), bool)]
        tiles, start = tiles + count, place + 1
    tokens.append(ids[start:])
    visual.append(np.full(len(ids) - start, TEXT, np.int32))
    mask.append(trained[start:])
    tokens, visual, mask = (np.concatenate(x) for x in (tokens, visual, mask))
    scored = np.flatnonzero(mask)
    scored = scored[scored > 0]  # nothing comes before position 0 to predict it
    return Sequence1D(
        tokens, visual, tiles, (scored - 1).astype(np.int32), tokens[scored].astype(np.int32)
    )


def truncate(sequence: Sequence1D, *, positions: int, patches: int) -> Sequence1D:
    """The sample cut on the right to `positions`, as the original cuts after the splice.

    What is scored must have its target inside the cut. Tiles stay up to the last one that a
    position still looks at; the pixels of the others are left out of the row.

    Args:
      sequence: a sample not yet placed.
      positions: how many may stay; a shorter sample is returned as it is.
      patches: `p`, patches along a tile's side.

    Worked example, p = 1, cut to 4 positions; of three tiles two are still seen, and the score at
    position 3 goes, as its target at position 4 does:

        tokens        5  0  0  0  0  8  9      ->   5  0  0  0
        visual_index -1  0  1 -2  2 -1 -1      ->  -1  0  1 -2
        tiles         3                        ->   2
        loss_index    3 4 5                    ->   (none)
    """
    if len(sequence.tokens) <= positions:
        return sequence
    visual = sequence.visual_index[:positions]
    kept = sequence.loss_index + 1 < positions
    return Sequence1D(
        tokens=sequence.tokens[:positions],
        visual_index=visual,
        tiles=int(visual.max(initial=TEXT)) // (patches * patches) + 1,
        loss_index=sequence.loss_index[kept],
        targets=sequence.targets[kept],
    )


class Placed(NamedTuple):
    """A sample with its pixels and the weight of each scored position, ready to be packed."""

    sequence: Sequence1D
    tiles: np.ndarray | None  # u8[t,R,R,3]; None: it cannot be read and its place stays empty
    weight: float


def place(samples: Sequence[Placed], *, budget, side: int, patches: int) -> Batch:
    """Packs `samples` into one row: a `Batch` without its leading axis.

    Args:
      samples: what the plan put into this row, in order; may be none (all padding). One without
        tiles leaves a hole of its size (segment 0, nothing scored); no other sample moves.
      budget: `packing.Budget`, the row's `positions`, `tiles` and `scored` positions.
      side: `R`; `patches`: `p`.

    Worked example, p = 1, budget of 8 positions and 3 tiles (so separator 0 is index 3), two
    samples [5, image] and [image, newline, 6] of one tile each:

        visual_index  -1  0   1  3 -1  -1 -1 -1
        positions      0  1   0  1  2   0  0  0
        segments       1  1   2  2  2   0  0  0
    """
    s, t, scored = budget.positions, budget.tiles, budget.scored
    row = Batch(
        tokens=np.zeros(s, np.int32),
        visual_index=np.full(s, TEXT, np.int32),
        positions=np.zeros(s, np.int32),
        segments=np.zeros(s, np.int32),
        loss_index=np.full(scored, -1, np.int32),
        targets=np.zeros(scored, np.int32),
        loss_weights=np.zeros(scored, np.float32),
        tiles=np.zeros((t, side, side, 3), np.uint8),
    )
    position = tile = score = 0
    number = 0
    for sequence, tiles, weight in samples:
        n, m = len(sequence.tokens), len(sequence.loss_index)
        at, scores = slice(position, position + n), slice(score, score + m)
        if tiles is None:
            position, tile, score = position + n, tile + sequence.tiles, score + m
            continue
        number += 1
        index = sequence.visual_index
        patch = index + tile * patches * patches
        separator = t * patches * patches + (SEPARATOR - index)
        row.tokens[at] = sequence.tokens
        row.visual_index[at] = np.where(index >= 0, patch, np.where(index == TEXT, TEXT, separator))
        row.positions[at] = np.arange(n)
        row.segments[at] = number
        row.loss_index[scores] = sequence.loss_index + position
        row.targets[scores] = sequence.targets
        row.loss_weights[scores] = weight
        row.tiles[tile : tile + sequence.tiles] = tiles
        position, tile, score = position + n, tile + sequence.tiles, score + m
    return row


def check(batch: Batch, *, patches: int, separators: int, vocab_size: int) -> None:
    """Checks every index of a batch on the host, where a mistake is cheap.

    Raises:
      RecordError: naming the field, the row and the value that is out of range.
    """
    table = batch.tiles.shape[-4] * patches * patches
    limits = {
        "tokens": (0, vocab_size - 1),
        "visual_index": (TEXT, table + separators - 1),
        "positions": (0, batch.tokens.shape[-1] - 1),
        "segments": (0, batch.tokens.shape[-1]),
        "loss_index": (-1, batch.tokens.shape[-1] - 1),
        "targets": (0, vocab_size - 1),
    }
    for field, (low, high) in limits.items():
        values = getattr(batch, field)
        bad = np.argwhere((values < low) | (values > high))
        if len(bad):
            at = tuple(int(i) for i in bad[0])
            raise RecordError(
                f"batch field {field}{list(at)} is {values[at]}, outside {low}..{high}",
                mend="the tokenizer, tile budget or model config do not belong together",
            )
