"""sg4v: ShareGPT4Video in JAX, from videos to a trained model that answers.

A verb is a module of this package with a docstring (its help), absl flags and `main(argv)`.
"""

from __future__ import annotations

import importlib
import sys

from absl import flags
from rich.console import Console

import sg4v_jax
from sg4v_jax.cli.exit_codes import BAD_INPUT, INTERRUPTED
from sg4v_jax.errors import ConfigError, Sg4vError

VERBS = {
    "quickstart": ("quickstart", "data, training, answers and a report, in one go"),
    "train": ("train", "train a model by a config file"),
    "plan": ("plan", "see what a training step takes on a TPU slice, without one"),
    "sweep": ("sweep", "train all runs of a config's sweep(); one table of results"),
    "goodput": ("goodput", "where the time of a training run went"),
    "chat": ("chat", "ask a model about a video"),
    "model save": ("model_save", "save a trained model alone, in one small file"),
    "data build": ("data_build", "captions to training data, an arm a file; swap a mix's captions"),
    "data diff": ("data_diff", "prove that two data files differ in text alone"),
    "data split": ("data_split", "take a published mix apart into its named parts"),
    "data check": ("data_check", "see which data of a config is there, part by part"),
    "data budget": ("data_budget", "choose the size of a row by what it wastes"),
    "data render": ("data_render", "render a config's videos once, for training that opens none"),
    "data stats": ("data_stats", "what training texts are made of, arms side by side"),
    "data show": ("data_show", "look at training rows as the model gets them"),
    "bench answers": ("bench_answers", "measure the predictor: questions a second, idle device"),
    "bench loader": ("bench_loader", "measure the loader: grids a second, where the time goes"),
    "caption filter": ("caption_filter", "choose short videos that are not alike"),
    "caption keyframes": ("caption_keyframes", "find the frames at which something changes"),
    "caption run": ("caption_run", "caption videos, key frame by key frame"),
    "caption score": ("caption_score", "score captions: events, agreement, words"),
    "caption compare": ("caption_compare", "judge two caption files blindly, side by side"),
    "convert import": ("convert_import", "a PyTorch checkpoint to a model directory"),
    "convert export": ("convert_export", "a model to PyTorch, transformers or vLLM files"),
    "convert inspect": ("convert_inspect", "what a checkpoint is, from its headers alone"),
    "convert verify": ("convert_verify", "compare two checkpoints, number by number"),
    "convert random": ("convert_random", "a checkpoint of random numbers, to rehearse with"),
    "eval predict": ("eval_predict", "answer a benchmark's questions"),
    "eval score": ("eval_score", "score answers to a benchmark's questions"),
    "eval lmms_tasks": ("eval_lmms_tasks", "tell where the tasks for lmms-eval lie"),
    "eval report": ("eval_report", "put scored runs beside the published numbers, on one page"),
    "study run": ("study_run", "run a caption-quality study: arms by seeds, resumable"),
    "study probe": ("study_probe", "what a linear map reads in a study's vision towers"),
    "study report": ("study_report", "a caption study's results: verdict, intervals, figures"),
    "world make": ("world_make", "render a data set of videos with captions and questions"),
    "world benchmark": ("world_benchmark", "make a small benchmark in the files of a real one"),
    "world slides": ("world_slides", "render clips of unrelated frames, to learn to see"),
    "world eval": ("world_eval", "answer a rendered data set's questions; write a report"),
}


def entry() -> None:
    """Runs the command line and exits with a code of `exit_codes`, 0 when done."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Runs `sg4v ARGV` and returns the exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(f"sg4v {sg4v_jax.__version__}")
        return 0
    try:
        verb, rest = _verb(argv)
        module = importlib.import_module(f"sg4v_jax.cli.{VERBS[verb][0]}")
        if any(a in ("-h", "--help", "-help", "--helpshort", "--helpfull") for a in rest):
            print(_help(verb, module))
            return 0
        return module.main(_parse(verb, rest)) or 0
    except Sg4vError as e:
        console = Console(stderr=True)
        console.print(f"error: {e}", style="red", markup=False, highlight=False, soft_wrap=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _verb(argv: list[str]) -> tuple[str, list[str]]:
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in VERBS:
            return name, argv[words:]
    inner = [v for v in VERBS if v.startswith(argv[0] + " ")]
    known = ", ".join(inner or VERBS)
    raise ConfigError(f"unknown verb {' '.join(argv[:2])!r}", mend=f"use one of: {known}")


def _parse(verb: str, rest: list[str]) -> list[str]:
    from sg4v_jax.cli import config_flag

    try:
        return flags.FLAGS([f"sg4v {verb}", *config_flag.resolve(rest)])[1:]
    except flags.Error as e:
        raise ConfigError(str(e).strip(), mend=f"see `sg4v {verb} --help`") from e
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise config_flag.explain(e, rest) from e


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [__doc__.splitlines()[0], "", "usage: sg4v VERB [--flag=value ...]", ""]
    lines += [f"  {verb:{width}}  {text}" for verb, (_, text) in VERBS.items()]
    lines += ["", "`sg4v VERB --help` tells a verb's flags; `sg4v --version` the version."]
    return "\n".join(lines)


def _help(verb: str, module) -> str:
    lines = [module.__doc__.strip(), "", "flags:"]
    for flag in flags.FLAGS.flags_by_module_dict().get(module.__name__, []):
        if flag.name.startswith("config."):
            continue
        # As it was written: the default of a config file is its path, not all that is in it.
        given = flag.default_unparsed
        default = "" if given in (None, "") else f" (default {given})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)
