"""sg4v eval predict --benchmark=NAME --data=DIR --model=MODEL --out=DIR [--protocol=sg4v|official]

Asks a model the questions of tempcompass, videobench, mvbench or videochatgpt, whose files DIR
holds as downloaded. Stopped anywhere and run again it goes on behind the last batch; several hosts
may run it at once with the same arguments on a shared OUT. Writes OUT/run.json and
OUT/predictions.jsonl; `sg4v eval score --predictions=OUT` scores them.

A video that cannot be read is a row with an error: it is told, and scored as wrong.
"""

from absl import flags
from rich.console import Console

from sg4v_jax.errors import ConfigError

_BENCHMARK = flags.DEFINE_string("benchmark", None, "tempcompass|videobench|mvbench|videochatgpt")
_DATA = flags.DEFINE_string("data", None, "the benchmark's folder, as downloaded")
_MODEL = flags.DEFINE_string("model", None, "model directory, checkpoint or hub id")
_STEP = flags.DEFINE_string("step", None, "checkpoint of a workdir: a number or best (newest)")
_OUT = flags.DEFINE_string("out", None, "folder for the run, local or gs://")
_PROTOCOL = flags.DEFINE_enum("protocol", "sg4v", ["sg4v", "official"], "whose way of asking")
_TASKS = flags.DEFINE_list("tasks", [], "ask only these (all)")
_LIMIT = flags.DEFINE_integer("limit", None, "at most so many of each task", lower_bound=1)
_VISUAL = flags.DEFINE_enum(
    "visual", None, ["anyres", "overview"], "instead of the protocol's: tiles, or overview alone"
)
_BOS = flags.DEFINE_bool("double_bos", None, "two bos tokens (as the model's tokenizer does)")
_NEW = flags.DEFINE_integer("max_new_tokens", None, "instead of the protocol's", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 16, "questions a batch, over all devices", lower_bound=1)
_MESH = flags.DEFINE_string(
    "mesh",
    "data=-1",
    "how devices share the work: data=-1 copies the model to each; tensor=-1, fsdp=-1 share it",
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16", "float16"], "of activations and the cache"
)
_WEIGHTS = flags.DEFINE_enum(
    "weights_dtype", None, ["float32", "bfloat16", "float16", "int8"], "of the weights (as dtype)"
)
_WORKERS = flags.DEFINE_integer("workers", None, "threads that read videos (cores)", lower_bound=1)
_AHEAD = flags.DEFINE_integer("ahead", 64, "videos made ready ahead", lower_bound=1)
_SECONDS = flags.DEFINE_float("decode_seconds", 60.0, "for one reading of a video", lower_bound=1)
_SHARD = flags.DEFINE_integer("shard", 64, "questions that one host claims", lower_bound=1)
_LEASE = flags.DEFINE_float(
    "lease", 60.0, "seconds until a dead host's questions are taken up", lower_bound=1
)
_RETRY = flags.DEFINE_bool("retry_failed", False, "ask again what failed in a finished run")


def main(argv: list[str]) -> int:
    if not (_BENCHMARK.value and _DATA.value and _MODEL.value and _OUT.value):
        raise ConfigError(
            "eval predict needs --benchmark, --data, --model and --out", mend="see its --help"
        )
    from sg4v_jax.cli.runtime import checkpoint_step, mesh_shape, start_jax

    start_jax()
    import jax

    from sg4v_jax import sharding
    from sg4v_jax.evals.answering import Pace
    from sg4v_jax.evals.benchmarks import get_protocol
    from sg4v_jax.evals.predict import Plan, engine_inputs, predict
    from sg4v_jax.infer.engine import Engine

    protocol = get_protocol(_BENCHMARK.value, _PROTOCOL.value)
    console = Console(stderr=True)
    engine = Engine.load(
        _MODEL.value,
        step=checkpoint_step(_STEP.value),
        dtype=_DTYPE.value,
        weights_dtype=_WEIGHTS.value,
        mesh=sharding.make_mesh(mesh_shape(_MESH.value), devices=jax.local_devices()),
        **engine_inputs(protocol, visual=_VISUAL.value, double_bos=_BOS.value),
    )
    run = predict(
        Plan(
            benchmark=_BENCHMARK.value,
            data=_DATA.value,
            model=_MODEL.value,
            protocol=_PROTOCOL.value,
            tasks=tuple(_TASKS.value),
            limit=_LIMIT.value,
            shard=_SHARD.value,
            lease=_LEASE.value,
            retry_failed=_RETRY.value,
        ),
        engine=engine,
        out=_OUT.value,
        pace=Pace(
            batch=_BATCH.value,
            ahead=_AHEAD.value,
            workers=_WORKERS.value,
            decode_seconds=_SECONDS.value,
            max_new_tokens=_NEW.value,
        ),
        console=console,
    )
    counts = run["counts"]
    idle = counts["host"]["idle_share"]
    text = f"{counts['questions']} questions answered, {counts['failed']} of them failed"
    if idle is not None:
        text += f"; the device was idle {idle:.1%} of this host's time"
    console.print(f"{_OUT.value}: {text}", markup=False, highlight=False, soft_wrap=True)
    return 0
