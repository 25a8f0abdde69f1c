"""sg4v model save --model=DIR --out=DIR [--step=N|best] [--dtype=bfloat16|float32]

Saves a model alone, without optimizer and history: settings, tokenizer and one safetensors file.
LoRA branches are merged into their matrices. OUT is a model directory for every other verb.
"""

import dataclasses

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_MODEL = flags.DEFINE_string("model", None, "model directory, for example a training's workdir")
_OUT = flags.DEFINE_string("out", None, "folder to write")
_STEP = flags.DEFINE_string("step", None, "checkpoint of a workdir: a number or best (newest)")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "of the saved weights")


def main(argv: list[str]) -> int:
    if not _MODEL.value or not _OUT.value:
        raise ConfigError("model save needs --model and --out", mend="see `sg4v model save --help`")
    from sg4v_jax.cli.runtime import checkpoint_step, start_jax

    start_jax()
    from sg4v_jax.weights import store
    from sg4v_jax.weights.load import load_model

    settings, params = load_model(_MODEL.value, step=checkpoint_step(_STEP.value))
    settings = dataclasses.replace(settings, lora=None)  # merged
    store.save_settings(_OUT.value, settings)
    store.save_params(_OUT.value, params, dtype=_DTYPE.value)
    count = sum(p.size for p in params.values())
    Console().print(f"{_OUT.value}: {count / 1e6:.2f} M parameters in {_DTYPE.value}", markup=False)
    return 0
