"""sg4v plan --config=FILE --topology=v5e:16x16 [--mesh=fsdp=128,tensor=2] [--json=FILE]

Compiles the step that `sg4v train` would run for a TPU slice, without one, and says whether it fits
its memory, what its chips send each other, and about how long it takes: estimates of the compiler
and arithmetic, not measurements. Needs the extra [tpu] (the compiler, libtpu). Exit code 0: fits;
3: does not; 2: a config, mesh or flag that is refused.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.cli.exit_codes import STOPPED
from sg4v_jax.errors import ConfigError
from sg4v_jax.plan import topology

DOES_NOT_FIT = STOPPED

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_TOPOLOGY = flags.DEFINE_string("topology", None, "the slice: v5e:16x16, v5p-64, v6e-8 ...")
_SLICES = flags.DEFINE_integer("slices", 1, "so many slices, joined by a network", lower_bound=1)
_MESH = flags.DEFINE_string(
    "mesh", None, "data=1,fsdp=128,tensor=2,context=1; as the config if none"
)
_ROWS = flags.DEFINE_integer("rows", 0, "rows a step; 0: as the config says", lower_bound=0)
_REMAT = flags.DEFINE_string("remat", "", "what the backward recomputes; as the config if empty")
_SYNTHETIC = flags.DEFINE_string(
    "synthetic", None, "rows of POSITIONSxTILES, as 2048x1, all scored"
)
_GENERATE = flags.DEFINE_boolean("generate", False, "plan the engine's prefill and decode instead")
_PROMPT = flags.DEFINE_integer("prompt", 4080, "--generate: positions of a prompt", lower_bound=1)
_TILES = flags.DEFINE_integer("tiles", 5, "--generate: tiles of a prompt", lower_bound=0)
_WEIGHTS = flags.DEFINE_string("weights", "bfloat16", "--generate: bfloat16 or int8")
_FLAGS = flags.DEFINE_string("flags", "", "compiler flags beside the generation's: name=value,...")
_SLOWEST = flags.DEFINE_boolean("slowest", False, "also the slowest instructions")
_DUMP = flags.DEFINE_string("dump_hlo", None, "folder for the compiled program's text")
_JSON = flags.DEFINE_string("json", None, "file to write the whole plan to")


def main(argv: list[str]) -> int:
    topology.prepare()
    if _CONFIG.value is None or not _TOPOLOGY.value:
        raise ConfigError("plan needs --config and --topology", mend="see `sg4v plan --help`")
    from sg4v_jax import files
    from sg4v_jax.plan import show

    console = Console()
    with Console(stderr=True).status(f"compiling for {_TOPOLOGY.value}"):
        plans = _generation() if _GENERATE.value else [_training()]
    if _JSON.value:
        files.write_json(_JSON.value, plans if _GENERATE.value else plans[0])
    for plan in plans:
        show.print_plan(plan, console=console, slowest=_SLOWEST.value)
    return 0 if all(plan["fits"] for plan in plans) else DOES_NOT_FIT


def _training() -> dict:
    from sg4v_jax.plan import case, training

    one = case.of_config(
        _CONFIG.value,
        topology.parse(_TOPOLOGY.value, slices=_SLICES.value),
        mesh=case.parse_mesh(_MESH.value) if _MESH.value else None,
        budget=case.parse_synthetic(_SYNTHETIC.value) if _SYNTHETIC.value else None,
        rows=_ROWS.value,
        remat=_REMAT.value,
        flags=case.parse_flags(_FLAGS.value),
    )
    return training.plan(one, dump=_DUMP.value)


def _generation() -> list[dict]:
    from sg4v_jax.plan import case, generation

    return generation.plan(
        generation.Serving(
            config=_CONFIG.value,
            slice=topology.parse(_TOPOLOGY.value, slices=_SLICES.value),
            mesh=case.parse_mesh(_MESH.value) if _MESH.value else {"tensor": -1},
            rows=_ROWS.value or 8,
            prompt=_PROMPT.value,
            tiles=_TILES.value,
            weights=_WEIGHTS.value,
            flags=case.parse_flags(_FLAGS.value),
        ),
        dump=_DUMP.value,
    )
