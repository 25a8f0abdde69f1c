"""sg4v bench answers --benchmark=NAME --data=DIR --model=MODEL [--limit=N] [--rounds=3]

Measures how many questions a second the predictor of `sg4v eval predict` answers and how much of
the time the device waits, next to the same work done in turn: videos, batch, device. Both ways run
in one process, in turn; the first pass of each compiles and does not count.
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from sg4v_jax.errors import ConfigError

_BENCHMARK = flags.DEFINE_string("benchmark", None, "tempcompass|videobench|mvbench|videochatgpt")
_DATA = flags.DEFINE_string("data", None, "the benchmark's folder, as downloaded")
_MODEL = flags.DEFINE_string("model", None, "model directory, checkpoint or hub id")
_PROTOCOL = flags.DEFINE_enum("protocol", "sg4v", ["sg4v", "official"], "whose way of asking")
_TASKS = flags.DEFINE_list("tasks", [], "ask only these (all)")
_LIMIT = flags.DEFINE_integer("limit", 10, "questions of each task", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 16, "questions a batch", lower_bound=1)
_WORKERS = flags.DEFINE_integer("workers", None, "threads that read videos (cores)", lower_bound=1)
_MESH = flags.DEFINE_string("mesh", "data=-1", "as for eval predict")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16", "float16"], "of all numbers")
_NEW = flags.DEFINE_integer("max_new_tokens", None, "instead of the protocol's", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "timings of each way", lower_bound=1)
_JSON = flags.DEFINE_string("json", None, "file to write everything measured to")


def main(argv: list[str]) -> int:
    if not (_BENCHMARK.value and _DATA.value and _MODEL.value):
        raise ConfigError(
            "bench answers needs --benchmark, --data and --model", mend="see its --help"
        )
    from sg4v_jax.cli.runtime import mesh_shape, start_jax

    start_jax()
    import jax

    from sg4v_jax import files, sharding
    from sg4v_jax.bench import answers
    from sg4v_jax.evals.answering import Pace
    from sg4v_jax.evals.benchmarks import get_protocol
    from sg4v_jax.evals.predict import engine_inputs
    from sg4v_jax.evals.questions import subset
    from sg4v_jax.evals.score import load_questions
    from sg4v_jax.infer.engine import Engine

    protocol = get_protocol(_BENCHMARK.value, _PROTOCOL.value)
    loaded = load_questions(_BENCHMARK.value, data=_DATA.value, tasks=_TASKS.value)
    mesh = sharding.make_mesh(mesh_shape(_MESH.value), devices=jax.local_devices())
    console = Console()
    with console.status("load") as status:
        report = answers.measure(
            Engine.load(_MODEL.value, dtype=_DTYPE.value, mesh=mesh, **engine_inputs(protocol)),
            subset(loaded.questions, limit=_LIMIT.value),
            protocol=protocol,
            data=_DATA.value,
            pace=Pace(batch=_BATCH.value, workers=_WORKERS.value, max_new_tokens=_NEW.value),
            rounds=_ROUNDS.value,
            progress=status.update,
        )
    if _JSON.value:
        files.write_json(_JSON.value, report)
    _show(report, console)
    return 0


def _show(report: dict, console: Console) -> None:
    where = report["machine"]
    console.print(
        f"{where['cpu']}, {where['cores']} cores, load {where['load_1_min']:.1f}; "
        f"commit {where['commit'] or 'unknown'}",
        markup=False,
        highlight=False,
    )
    table = Table(
        "way",
        "questions/s",
        "device idle",
        title=f"{report['questions']} questions, {report['videos']} pictures, "
        f"batches of {report['batch']}: median (range)",
    )
    for way in report["ways"]:
        speed, idle = way["questions_per_s"], way["idle_share"]
        table.add_row(
            way["way"],
            f"{speed['median']:.2f} ({speed['low']:.2f}..{speed['high']:.2f})",
            f"{idle['median']:.1%} ({idle['low']:.1%}..{idle['high']:.1%})",
        )
    console.print(table)
    ratio = report["ratio"]
    console.print(
        f"overlapped answers {ratio['median']:.2f} times as many "
        f"({ratio['low']:.2f}..{ratio['high']:.2f})",
        highlight=False,
    )
