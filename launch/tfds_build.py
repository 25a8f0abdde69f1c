"""Builds the TFDS data set sg4v_video_captions: `tfds build` without TensorFlow.

    python launch/tfds_build.py --manual_dir=MIX --data_dir=OUT [flags of `tfds build`]

MIX holds mix.json (see sg4v_jax/data/tfds_builder.py). TFDS's own program `tfds` loads TensorFlow for
a verb that is not needed here; this is its verb `build` alone, with this data set's name filled in.
Needs the extra [tfds].
"""

from __future__ import annotations

import sys

import simple_parsing
from tensorflow_datasets.scripts.cli import build

from sg4v_jax.errors import Sg4vError

GIVEN = (
    "--dataset=sg4v_video_captions",
    "--imports=sg4v_jax.data.tfds_builder",
    "--file_format=array_record",
)


def main() -> None:
    parser = simple_parsing.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_arguments(build.Args, dest="build")
    try:
        parser.parse_args([*GIVEN, *sys.argv[1:]]).build.execute()
    except Sg4vError as e:
        sys.exit(f"error: {e}")


if __name__ == "__main__":
    main()
