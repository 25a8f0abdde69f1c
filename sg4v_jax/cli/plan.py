"""sg4v plan --config=FILE --topology=v5e:16x16 [--mesh=fsdp=128,tensor=2] [--json=FILE]
sg4v plan --config=FILE --topology=v6e-8 --generate [--weights=int8]
sg4v plan --config=FILE --topology=v5e-64 --search
sg4v plan --all --out=DIR [--table=launch/README.md]
sg4v plan --hlo=FILE --topology=v6e-64

Compiles the step that `sg4v train` would run for a TPU slice, without one, and says whether it fits
its memory, what its chips send each other, and about how long it takes: estimates of the compiler
and arithmetic, not measurements. --generate plans prefill and decode; --search ranks meshes,
recomputation and micro-batches by arithmetic, compiles the best until three fit (at most six), and
names the fastest; --all makes the table of the 8B recipes
(hours; it goes on where it was stopped); --hlo reads a program that was compiled elsewhere. Needs the
extra [tpu] (the compiler, libtpu). Exit code 0: fits; 3: does not; 2: a config, mesh or flag that
is refused.
"""

import shlex

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
_KV_DTYPE = flags.DEFINE_string("kv_dtype", "bfloat16", "--generate: of the cache, or int8")
_FLAGS = flags.DEFINE_string("flags", "", "compiler flags beside the generation's: name=value,...")
_SEARCH = flags.DEFINE_boolean(
    "search", False, "rank ways to run it, compile the best until three fit"
)
_ALL = flags.DEFINE_boolean("all", False, "the table of the 8B recipes; needs --out")
_OUT = flags.DEFINE_string("out", None, "--all: folder that keeps each cell")
_TABLE = flags.DEFINE_string("table", None, "--all: Markdown file whose marked block is replaced")
_CELLS = flags.DEFINE_list("cells", [], "--all: only these, as v5p-64-full")
_HLO = flags.DEFINE_string("hlo", None, "optimized HLO text (or what plan/maxtext.py wrote)")
_SLOWEST = flags.DEFINE_boolean("slowest", False, "also the slowest instructions")
_DUMP = flags.DEFINE_string("dump_hlo", None, "folder for the compiled program's text")
_JSON = flags.DEFINE_string("json", None, "file to write the whole plan to")


def main(argv: list[str]) -> int:
    topology.prepare()
    if _ALL.value:
        return _table()
    if not _TOPOLOGY.value or (_CONFIG.value is None and not _HLO.value):
        raise ConfigError("plan needs --config and --topology", mend="see `sg4v plan --help`")
    from sg4v_jax import files
    from sg4v_jax.plan import show

    console = Console()
    if _HLO.value:
        plans = [_reading()]
    elif _GENERATE.value:
        plans = _generation()
    else:
        plans = _search() if _SEARCH.value else [_training()]
    if not plans:
        return DOES_NOT_FIT  # a search that found nothing worth compiling, and said so
    if _JSON.value:
        files.write_json(_JSON.value, plans if len(plans) > 1 else plans[0])
    searched = _SEARCH.value and not _HLO.value and not _GENERATE.value
    if searched:
        print("\n".join(show.search_lines(plans)))
    for plan in plans[:1] if searched else plans:
        show.print_plan(plan, console=console, slowest=_SLOWEST.value)
    if searched:
        print(f"{'best' if plans[0]['fits'] else 'none fits; one tried'}: {plans[0]['command']}")
        return 0 if plans[0]["fits"] else DOES_NOT_FIT
    return 0 if all(plan["fits"] for plan in plans) else DOES_NOT_FIT


def _case():
    from sg4v_jax.plan import case

    return case.of_config(
        _CONFIG.value,
        topology.parse(_TOPOLOGY.value, slices=_SLICES.value),
        mesh=case.parse_mesh(_MESH.value) if _MESH.value else None,
        budget=case.parse_synthetic(_SYNTHETIC.value) if _SYNTHETIC.value else None,
        rows=_ROWS.value,
        remat=_REMAT.value,
        flags=case.parse_flags(_FLAGS.value),
    )


def _compiling():
    return Console(stderr=True).status(f"compiling for {_TOPOLOGY.value or 'every slice'}")


def _training() -> dict:
    from sg4v_jax.plan import training

    with _compiling():
        return training.plan(_case(), dump=_DUMP.value)


def _search() -> list[dict]:
    from sg4v_jax.plan import search, training

    told = Console(stderr=True)
    plans = search.search(
        _case(),
        plan=lambda one: training.plan(one, dump=_DUMP.value),
        said=lambda line: told.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    return [plan | {"command": _command(plan["options"])} for plan in plans]


def _command(options: list[str]) -> str:
    """The command that plans one layout of a search, with what the search was told."""
    config = flags.FLAGS["config"]
    words = ["sg4v", "plan", f"--config={config_flags.get_config_filename(config)}"]
    for name in ("topology", "slices", "rows", "synthetic", "flags"):
        if (flag := flags.FLAGS[name]).present:
            words.append(f"--{name}={flag.value}")
    given = config_flags.get_override_values(config)
    words += [f"--config.{k}={v}" for k, v in given.items()]
    return shlex.join(words + options)


def _table() -> int:
    from sg4v_jax.plan import table, training

    if not _OUT.value:
        raise ConfigError(
            "plan --all needs --out", mend="name a folder that keeps what is compiled"
        )
    console, wanted = Console(stderr=True), table.cells()
    unknown = sorted(set(_CELLS.value) - {c.name for c in wanted})
    if unknown:
        known = ", ".join(c.name for c in wanted)
        raise ConfigError(f"--cells: no cell {unknown[0]}", mend=f"use some of {known}")
    asked = [c for c in wanted if not _CELLS.value or c.name in _CELLS.value]
    said = lambda line: console.print(line, markup=False, highlight=False)
    table.make(asked, out=_OUT.value, plan=training.plan, said=said)
    text = table.markdown(wanted, table.kept(wanted, out=_OUT.value))
    if _TABLE.value:
        table.write(_TABLE.value, text)
    print(text)
    return 0


def _reading() -> dict:
    from sg4v_jax.plan import reading

    return reading.plan(_HLO.value, topology.parse(_TOPOLOGY.value, slices=_SLICES.value))


def _generation() -> list[dict]:
    from sg4v_jax.plan import case, generation

    with _compiling():
        return generation.plan(_serving(generation, case), dump=_DUMP.value)


def _serving(generation, case):
    return generation.Serving(
        config=_CONFIG.value,
        slice=topology.parse(_TOPOLOGY.value, slices=_SLICES.value),
        mesh=case.parse_mesh(_MESH.value) if _MESH.value else {"tensor": -1},
        rows=_ROWS.value or 8,
        prompt=_PROMPT.value,
        tiles=_TILES.value,
        weights=_WEIGHTS.value,
        kv_dtype=_KV_DTYPE.value,
        flags=case.parse_flags(_FLAGS.value),
    )
