"""What every test runs under: the CPU as eight devices, no network, clear skips."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

# Before anything imports jax. Eight devices let one process test every mesh; a value that is set
# already wins, so that the same tests can be run on an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

_NEEDS = {"torch": "torch", "tpu_aot": "libtpu"}
_EXTRA = {"torch": "torch", "tpu_aot": "tpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs an extra that is not installed, and says which."""
    for marker, package in _NEEDS.items():
        if importlib.util.find_spec(package):
            continue
        reason = f"needs {package}: pip install -e '.[{_EXTRA[marker]}]' -c constraints.txt"
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


# A shell that runs the tests in the background lets them ignore Ctrl-C, and so their programs.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).parent.parent
TINY_CONFIG = """
from sg4v_jax.configs import common


def get_config(arg=""):
    c = common.base()
    c.model.preset = "sg4v-test"
    c.model.dtype = "float32"
    c.model.remat = "none"
    c.data.annotations = ("{folder}/data/train.json",)
    c.data.tokenizer = "{folder}/tokenizer.json"
    c.data.template = "llama_3_bare"
    c.data.preamble = ""
    c.data.positions = 400
    c.data.tiles = 10
    c.data.scored = 200
    c.data.batch_rows = 2
    c.optim.steps = 12
    c.optim.groups = dict(all=dict(learning_rate=1e-2, weight_decay=0.1))
    c.run.save_every = 3
    return c
"""


@dataclasses.dataclass(frozen=True)
class Tiny:
    """Six rendered videos, a tokenizer, and a config that trains 'sg4v-test' on them in seconds."""

    folder: pathlib.Path
    config_file: pathlib.Path
    video: pathlib.Path

    def config(self):
        """The config, to be changed at will."""
        spec = importlib.util.spec_from_file_location("tiny_config", self.config_file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.get_config()

    def environment(self) -> dict[str, str]:
        """Of processes that tests start: one device, compiled quickly and kept between them."""
        env = dict(os.environ)
        env.setdefault("JAX_COMPILATION_CACHE_DIR", str(self.folder / "compiled"))
        return env | {
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }

    def run(
        self, *words, program: tuple[str, ...] = ("-m", "sg4v_jax"), text: str | None = None
    ) -> subprocess.CompletedProcess:
        """Runs `sg4v WORDS` in a process of its own, on one device, away from the checkout."""
        return subprocess.run(
            [sys.executable, *program, *map(str, words)],
            check=False,
            cwd=self.folder,
            env=self.environment(),
            input=text or "",
            capture_output=True,
            text=True,
            timeout=900,
        )

    def train(self, workdir, *words, program: tuple[str, ...] = ("-m", "sg4v_jax")):
        """Runs `sg4v train` on the tiny config."""
        command = ("train", f"--config={self.config_file}", f"--workdir={workdir}", *words)
        return self.run(*command, program=program)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    from sg4v_jax.text.tokenizer import train_byte_bpe
    from sg4v_jax.world.dataset import make_dataset

    folder = tmp_path_factory.mktemp("tiny")
    make_dataset(str(folder / "data"), videos=6, seed=3)
    records = json.loads((folder / "data" / "train.json").read_text())
    texts = [turn["value"] for record in records for turn in record["conversations"]]
    train_byte_bpe(texts, vocab_size=320).save(folder / "tokenizer.json")
    (folder / "tiny.py").write_text(TINY_CONFIG.format(folder=folder))
    video = min((folder / "data" / "videos").glob("*.mp4"))
    return Tiny(folder, folder / "tiny.py", video)


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory) -> pathlib.Path:
    """The working directory of an uninterrupted run of the tiny config."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    done = tiny.train(workdir)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture
def small_disk():
    """`with small_disk(1000):` no file can grow beyond that many bytes, as on a full disk."""

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture(scope="session")
def sg4v():
    """`sg4v(*words)`: runs the command line in a process of its own, on one device."""

    def run(*words) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "sg4v_jax", *map(str, words)],
            check=False,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    """`mini(shape, videos=6)`: the folder of a made-up benchmark, made once a session."""
    from sg4v_jax.world.benchmark import make_benchmark

    made: dict[tuple, pathlib.Path] = {}

    def make(shape: str, *, videos: int = 6, seed: int = 1) -> pathlib.Path:
        key = (shape, videos, seed)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("mini") / shape
            make_benchmark(str(made[key]), shape=shape, videos=videos, seed=seed)
        return made[key]

    return make


def _answer(benchmark: str, question, right: bool, rng: random.Random) -> str:
    """A right or a wrong answer in a form that the rules read."""
    if benchmark == "videochatgpt":
        return question.gold if right else "nothing at all"
    if question.task == "yes_no":
        return question.gold if right else {"yes": "no", "no": "yes"}[question.gold]
    if benchmark == "tempcompass":
        options = question.text.split("\n")[1:]
        wrong = [o for o in options if o != question.gold]
        return question.gold if right else rng.choice(wrong)
    letters = "ABCDEFGH"[: len(question.options)]
    gold = question.gold[1]
    letter = gold if right else rng.choice([c for c in letters if c != gold])
    return f"({letter}) {question.options[letters.index(letter)]}"


@pytest.fixture(scope="session")
def answered():
    """`answered(benchmark, data, out, accuracy=0.7, ...)`: a scored run of made-up answers."""
    from sg4v_jax.evals.benchmarks import get_protocol
    from sg4v_jax.evals.run_files import prediction_row
    from sg4v_jax.evals.score import Options, load_questions, score

    def run(
        benchmark: str,
        data,
        out,
        *,
        accuracy: float = 1.0,
        seed: int = 0,
        protocol: str = "sg4v",
        model: str = "models/oracle",
        missing: int = 0,
        options=None,
    ) -> pathlib.Path:
        rng = random.Random(seed)
        out = pathlib.Path(out)
        out.mkdir(parents=True, exist_ok=True)
        questions = load_questions(benchmark, data=data).questions
        how = get_protocol(benchmark, protocol)
        lines = []
        for number, question in enumerate(questions):
            right = rng.random() < accuracy
            lost = number < missing
            row = prediction_row(
                question,
                prompt=how.prompt(question),
                prediction=None if lost else _answer(benchmark, question, right, rng),
                error="no such file" if lost else None,
            )
            lines.append(json.dumps(row) + "\n")
        (out / "predictions.jsonl").write_text("".join(lines))
        facts = {
            "benchmark": benchmark,
            "protocol": protocol,
            "model": model,
            "data": str(data),
            "limit": None,
        }
        (out / "run.json").write_text(json.dumps(facts))
        score(benchmark, data=data, predictions=out, out=out, options=options or Options())
        return out

    return run


@pytest.fixture
def forget_verbs():
    """For tests that call verbs within this process: no verb finds the flags of another one."""
    _forget_verbs()
    yield
    _forget_verbs()


def _forget_verbs() -> None:
    from absl import flags

    for module, defined in list(flags.FLAGS.flags_by_module_dict().items()):
        if module.startswith("sg4v_jax.cli."):
            for name in {flag.name for flag in defined} & set(flags.FLAGS):
                delattr(flags.FLAGS, name)
            sys.modules.pop(module, None)
    flags.FLAGS.unparse_flags()
