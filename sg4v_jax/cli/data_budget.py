"""sg4v data budget --config=FILE | --mix=released_181k [--batch=128] [--shards=32] [--rows=S,T,L]

Chooses positions, tiles and scored positions of a row from the data's own lengths: the row with the
largest share of useful flops of which a batch still gives each data shard one. Shows beside it one
sample a row in a few lengths, and the original's padding. --rows measures one row instead; --chip
says whose blocks of attention are counted, those in which a sample meets itself. With
--config the data is read as in training (--cache keeps what is learnt); --mix=released_181k stands
for the released mix, whose data is not here: its lengths are assumed, and the assumptions shown.

    sg4v data budget --mix=released_181k --rows=7168,15,2048
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.progress import track

from sg4v_jax.chips import CHIPS
from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_MIX = flags.DEFINE_string("mix", None, "a mix whose lengths are assumed: released_181k")
_RECORDS = flags.DEFINE_integer("records", 20_000, "samples drawn of --mix; 0: all", lower_bound=0)
_BATCH = flags.DEFINE_integer("batch", 128, "samples of a global batch", lower_bound=1)
_SHARDS = flags.DEFINE_integer("shards", 32, "data shards: chips over which rows are split")
_ROWS = flags.DEFINE_list("rows", None, "positions,tiles,scored of a row to measure")
_ATTENTION = flags.DEFINE_enum(
    "attention", "segments", ["segments", "causal", "dense"], "blocks that the kernel computes"
)
_CHIP = flags.DEFINE_enum("chip", "v5e", list(CHIPS), "TPU generation, for the size of the blocks")
_LONGEST = flags.DEFINE_integer("longest", 16384, "most positions of a row", lower_bound=1)
_STEP = flags.DEFINE_integer("step", 128, "rows are tried at multiples of it", lower_bound=1)
_MICRO = flags.DEFINE_integer("microbatch", 2, "of the original's padding", lower_bound=1)
_CACHE = flags.DEFINE_string("cache", None, "file that keeps what is learnt of --config's data")
_JSON = flags.DEFINE_string("json", None, "also write everything found to this file")


def main(argv: list[str]) -> int:
    if (_CONFIG.value is None) == (_MIX.value is None):
        raise ConfigError("data budget needs --config or --mix", mend="give one of them")
    from sg4v_jax.cli.runtime import start_jax

    start_jax()
    from sg4v_jax import files
    from sg4v_jax.tasks import data_budget

    console = Console()
    lengths, assumed, model = _lengths(console)
    report = data_budget.compare(
        lengths,
        flops=data_budget.flops_of(model, attention=_ATTENTION.value, chip=_CHIP.value),
        batch=_BATCH.value,
        shards=_SHARDS.value,
        microbatch=_MICRO.value,
        rows=_budget(),
        longest=_LONGEST.value,
        step=_STEP.value,
        assumed=assumed,
        progress=lambda items: track(items, "pack", console=console, transient=True),
    )
    console.print(data_budget.as_table(report))
    if _JSON.value:
        files.write_json(_JSON.value, report.as_json())
    return 0


def _lengths(console):
    """Lengths, what they stand on, and the model's config."""
    from sg4v_jax.tasks import data_budget, run_setup

    if _CONFIG.value is not None:
        settings = run_setup.model_settings(_CONFIG.value)
        index = run_setup.train_index(_CONFIG.value, settings, console=console, cache=_CACHE.value)
        return index.lengths, [], settings.config
    from sg4v_jax.bench.clips import input_spec
    from sg4v_jax.models.video_lm import PRESETS

    how = dict(spec=input_spec(), records=_RECORDS.value)
    return *data_budget.assumed_lengths(_MIX.value, **how), PRESETS["sg4v-8b"]()


def _budget():
    from sg4v_jax.data.packing import Budget

    if _ROWS.value is None:
        return None
    try:
        positions, tiles, scored = map(int, _ROWS.value)
    except ValueError as e:
        raise ConfigError(f"--rows={','.join(_ROWS.value)}", mend="use 7168,15,2048") from e
    return Budget(positions, tiles, scored)
