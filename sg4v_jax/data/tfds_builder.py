"""The data set `sg4v_video_captions` for TensorFlow Datasets, without TensorFlow.

    python launch/tfds_build.py --manual_dir=MIX --data_dir=OUT       # or, with TensorFlow:
    tfds build sg4v_video_captions --imports=sg4v_jax.data.tfds_builder --file_format=array_record \\
        --manual_dir=MIX --data_dir=OUT

MIX holds `mix.json`: `{"parts": [...]}`, as `data.parts` of a run's config, with paths below MIX.
Pictures are made as the 8B model's training makes them; `--config` changes that, for example
`--config='{"name": "small", "side": 112, "codec": "jpeg"}'`.

What comes out is a store as `data/store` describes: training reads it (format `arrayrecord`), and
`tfds.data_source` does, and neither loads TensorFlow. `sg4v data build` makes the same kind of store
in parallel and resumes.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from sg4v_jax import files
from sg4v_jax.data.inputs import InputSpec
from sg4v_jax.data.mixture import parts_of, read_mix
from sg4v_jax.data.record import Record
from sg4v_jax.data.store import catalog, pictures, seal
from sg4v_jax.data.store.write import Encoder, common_folder
from sg4v_jax.errors import ConfigError, RecordError, Sg4vError
from sg4v_jax.video.anyres import AnyRes

MIX = "mix.json"
log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class CaptionsConfig(tfds.core.BuilderConfig):
    """How pictures are made; as the fields of `InputSpec` and the arguments of `write_shards`."""

    side: int = 336
    frames: int = 16
    band: int = 50
    longest_side: int = 1920
    sampling: str = "run"
    store_as: str = "views"
    codec: str = pictures.DEFAULT
    seed: int = 0
    max_skipped: float = 0.01

    def spec(self) -> InputSpec:
        """What rendering needs to know; patches and text do not matter to pictures."""
        return InputSpec(
            anyres=AnyRes.standard(self.side, patches=1),
            visual="anyres",
            frames=self.frames,
            band=self.band,
            longest_side=self.longest_side,
            template="plain",
            preamble="",
            sampling=self.sampling,
        )

    def made(self) -> dict[str, Any]:
        """As `Catalog.made`."""
        if self.store_as not in catalog.PICTURES:
            raise ConfigError(
                f"store_as {self.store_as!r} is unknown",
                mend=f"use one of {', '.join(catalog.PICTURES)}",
            )
        codec = pictures.check_codec(self.codec)
        return catalog.made_with(self.spec(), pictures=self.store_as, codec=codec)


class Sg4vVideoCaptions(tfds.core.GeneratorBasedBuilder):
    """Conversations about videos, with each video's rendered frame grid."""

    VERSION = tfds.core.Version(catalog.VERSION)
    RELEASE_NOTES: ClassVar = {catalog.VERSION: "First."}
    BUILDER_CONFIGS: ClassVar = [CaptionsConfig(name="views", description="Two views a video.")]
    builder_config_cls = CaptionsConfig
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    Put `{MIX}` into the manual folder, and below it the annotations and videos that it names:
    {{"parts": [{{"name": "mine", "file": "train.json", "format": "llava_json"}}]}}
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=seal.DESCRIPTION,
            features=features(),
            # Records lie in the mix's order; training shuffles by number.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({"sg4v": self.builder_config.made()}),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        records = read_manual(dl_manager.manual_dir, seed=self.builder_config.seed)
        return {catalog.SPLIT: self._generate_examples(records)}

    def _generate_examples(self, records: Sequence[Record]) -> Iterator[tuple[int, dict]]:
        how = self.builder_config
        encoder = Encoder(how.spec(), how.store_as, pictures.check_codec(how.codec))
        folder, skipped = common_folder(records), []
        for number, record in enumerate(records):
            try:
                _, values = encoder.record(record, folder=folder)
            except Sg4vError as e:
                log.warning("skipped %s: %s", record.where, e.message)
                skipped.append(e.message)
                if len(skipped) > how.max_skipped * len(records):
                    raise RecordError(
                        f"{len(skipped)} of {len(records)} records cannot be rendered: "
                        f"{'; '.join(skipped[:3])}",
                        mend="mend them, or raise max_skipped in --config",
                    ) from e
                continue
            yield number, values

    def download_and_prepare(self, **options: Any) -> None:
        """As TFDS's; then writes `store.json`, without which training refuses the folder."""
        super().download_and_prepare(**options)
        seal.seal(self.data_path)


def features() -> tfds.features.FeaturesDict:
    """The fields of a record; `seal.features_json` says the same."""
    picture = tfds.features.Image(shape=(None, None, 3), dtype=np.uint8)
    turn = {"from": tfds.features.Text(), "value": tfds.features.Text()}
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "part": tfds.features.Text(),
            "conversations": tfds.features.Sequence(turn),
            "visuals": tfds.features.Text(),  # JSON: kind, path, size ... of each picture
            "pictures": tfds.features.Sequence(picture),
            "overviews": tfds.features.Sequence(picture),
        }
    )


def read_manual(folder: Any, *, seed: int) -> list[Record]:
    """The records of the mix in TFDS's manual folder.

    Raises:
      RecordError: no `mix.json`, or an annotation file that is missing or cannot be used.
      UnsafePathError: a path in `mix.json` that leaves the folder.
    """
    where = files.path(folder) / MIX
    value = files.read_json(where)
    if not isinstance(value, dict) or not isinstance(value.get("parts"), list):
        raise RecordError(f"{where}: no list 'parts'", mend='write {"parts": [{"name": ...}]}')
    parts = []
    for part in value["parts"]:
        part = dict(part)
        for field in ("file", "root"):
            if part.get(field):
                at = f"{where}: field {field!r}"
                part[field] = files.safe_join(folder, part[field], where=at)
        parts.append(part)
    return read_mix(parts_of({"parts": parts}), seed=seed)
