"""sg4v convert random --out=DIR [--preset=sg4v-8b] [--layout=llava|hf]

Writes a checkpoint of random bfloat16 numbers in a preset's shapes (16.7 GB for sg4v-8b), to
measure import and export with, or to rehearse a conversion.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.cli import convert_flags
from sg4v_jax.errors import ConfigError

_OUT = flags.DEFINE_string("out", None, "folder to write; must not exist")
_PRESET = flags.DEFINE_string("preset", "sg4v-8b", "whose shapes")
_LAYOUT = flags.DEFINE_enum("layout", "llava", ["llava", "hf"], "names to write")
_SEED = flags.DEFINE_integer("seed", 0, "of the numbers", lower_bound=0)


def main(argv: list[str]) -> int:
    if not _OUT.value:
        raise ConfigError("convert random needs --out", mend="see `sg4v convert random --help`")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.weights import random_source

    with convert_flags.bytes_bar("writing", total=None) as progress:
        random_source.write(
            _OUT.value,
            preset=_PRESET.value,
            layout=_LAYOUT.value,
            seed=_SEED.value,
            progress=progress,
        )
    Console().print(f"{_OUT.value}: random numbers, layout {_LAYOUT.value}", markup=False)
    return 0
