"""sg4v convert import --source=DIR_OR_HUB_ID --out=DIR [--dtype=bfloat16|float32|float16]

Makes a model directory (for every other verb) of a checkpoint in PyTorch's world: LLaVA's own
layout, transformers' LLaVA-NeXT, or an adapter with its base, as safetensors or torch .bin files.
Parts that the source lacks come from --tower, --projector and --tokenizer; settings that no file
says from --set, for example --set rope_theta=500000.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.cli import convert_flags
from sg4v_jax.errors import ConfigError

_SOURCE = flags.DEFINE_string("source", None, "checkpoint folder or file, or hub id ORG/NAME")
_OUT = flags.DEFINE_string("out", None, "folder to write; must not exist")
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["bfloat16", "float16", "float32"], "of the weights (as in the source)"
)

convert_flags.define()


def main(argv: list[str]) -> int:
    if not _SOURCE.value or not _OUT.value:
        raise ConfigError(
            "convert import needs --source and --out", mend="see `sg4v convert import --help`"
        )
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax.weights import assemble, import_model

    console = Console()
    model = assemble.model(convert_flags.request(_SOURCE.value))
    for note in model.notes:
        console.print(note, markup=False, soft_wrap=True)
    total = sum(p.nbytes for p in model.params.values())
    with convert_flags.bytes_bar("writing", total=None if _DTYPE.value else total) as progress:
        import_model.write(model, _OUT.value, dtype=_DTYPE.value, progress=progress)
    count = sum(p.nbytes // p.dtype.itemsize for p in model.params.values())
    console.print(f"{_OUT.value}: {count:,} parameters", markup=False)
    return 0
