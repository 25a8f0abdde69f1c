"""Pictures as encoded bytes and back. Which codec: what a picture costs in bytes and in time.

A 16-frame grid as its two views, CPU time on an EPYC (Pillow 13), 16:9 to square test clips:

    codec   exact  kB            write ms    read ms
    tiff    yes    519 to 1031   28 to 49    2.1 to 3.0   zstd and differences; the default
    png     yes    464 to 934    26 to 30    9.3 to 14    smaller, and TensorFlow reads it too
    webp    yes    470 to 832    13 to 38    6.9 to 9.8
    jpeg    no     218 to 384    2.1 to 3.2  2.7 to 4.3   quality 95, colour at full resolution
    ppm     yes    1145 to 1693  under 1     0.4 to 0.7   bare pixels
"""

from __future__ import annotations

import io
import re
import zlib

import numpy as np
from PIL import Image

from sg4v_jax.errors import ConfigError, CorruptVideoError

CODECS = ("tiff", "png", "webp", "jpeg", "ppm")
DEFAULT = "tiff"
_JPEG_QUALITY = 95
_PREDICTOR = 317  # a TIFF tag; 2: each pixel as its difference to the one before
_FORMATS = ("TIFF", "PNG", "WEBP", "JPEG", "PPM")


def check_codec(codec: str) -> str:
    """`codec` as it is written down: "jpeg" becomes "jpeg:95".

    Raises:
      ConfigError: unknown, or a quality out of range.
    """
    name, quality = _parse(codec)
    return f"{name}:{quality}" if name == "jpeg" else name


def encode(pixels: np.ndarray, codec: str) -> bytes:
    """u8[H,W,3] in `codec`: tiff, png, webp, ppm (exact) or jpeg[:QUALITY].

    Raises: as `check_codec`.
    """
    name, quality = _parse(codec)
    options = {
        "tiff": dict(compression="zstd", tiffinfo={_PREDICTOR: 2}),
        # Runs alone find what filtered pixels have to find: smaller than zlib's own search, and
        # four times as fast.
        "png": dict(compress_level=1, compress_type=zlib.Z_RLE),
        "webp": dict(lossless=True, quality=20, method=0),
        "jpeg": dict(quality=quality, subsampling=0),
        "ppm": {},
    }[name]
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, name, **options)
    return data.getvalue()


def decode(data: bytes, *, where: str) -> np.ndarray:
    """u8[H,W,3] of an encoded picture.

    Args:
      where: the place in the store, for the message.

    Raises:
      CorruptVideoError: the bytes are no whole picture.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except Exception as e:  # Pillow's formats raise many types, for bombs and for damage
        raise CorruptVideoError(
            f"{where}: not a whole picture ({e})", mend="build the store again"
        ) from e


def _parse(codec: str) -> tuple[str, int]:
    match = re.fullmatch(r"(tiff|png|webp|ppm|jpeg)|jpeg:(\d{1,3})", codec)
    quality = int(match[2] or _JPEG_QUALITY) if match else 0
    if not match or not 1 <= quality <= 100:
        raise ConfigError(
            f"codec {codec!r} is unknown", mend=f"use {', '.join(CODECS)}, or jpeg:QUALITY"
        )
    return match[1] or "jpeg", quality
