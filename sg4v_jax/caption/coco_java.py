"""The two Java programs of the package pycocoevalcap: METEOR 1.5 and the Penn Treebank tokenizer.

METEOR is what its jar computes (stems, WordNet synonyms, paraphrase table); nothing here goes by
its name without it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from sg4v_jax.errors import ConfigError, RecordError

_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"]
    + [*".?!,:;", "-", "--", "...", "-lrb-", "-rrb-", "-lcb-", "-rcb-"]
)
_SECONDS = 600.0


def available() -> str | None:
    """None if both Java and the package are there, else what is missing."""
    if shutil.which("java") is None:
        return "Java is not installed"
    if importlib.util.find_spec("pycocoevalcap") is None:
        return "the package pycocoevalcap is not installed"
    return None


def version() -> str:
    """For reports, for example "pycocoevalcap 1.2"."""
    return f"pycocoevalcap {importlib.metadata.version('pycocoevalcap')}"


def ptb_words(texts: Sequence[str]) -> list[list[str]]:
    """Words as the COCO caption evaluation takes them: lower case, without punctuation.

    Raises:
      ConfigError: Java or the package is missing.
      RecordError: the program fails.
    """
    lines = [" ".join(text.split()) for text in texts]
    jar = "tokenizer/stanford-corenlp-3.4.1.jar"
    tool = ["-cp", str(_folder() / jar), "edu.stanford.nlp.process.PTBTokenizer"]
    out = _java([*tool, "-preserveLines", "-lowerCase"], "\n".join(lines) + "\n").split("\n")
    if len(out) < len(lines):
        raise RecordError(f"PTB tokenizer: {len(out)} lines for {len(lines)} captions")
    return [[w for w in line.split() if w not in _PUNCTUATION] for line in out[: len(lines)]]


def meteor(
    captions: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Sequence[str]]]
) -> tuple[float, dict[str, float]]:
    """METEOR 1.5 (English, normalised): of the whole set, and of each caption, 0 to 1.

    The set's score is computed from its summed counts; it is not the mean.

    Args:
      captions: id -> words, as of `ptb_words`.
      references: id -> one or more lists of words.

    Raises:
      ConfigError: Java or the package is missing.
      RecordError: the program fails, or an id has no references.
    """
    command = ["-Xmx2G", "-jar", str(_folder() / "meteor" / "meteor-1.5.jar")]
    command += ["-", "-", "-stdio", "-l", "en", "-norm"]
    asked = []
    for name, words in captions.items():
        if not references.get(name):
            raise RecordError(f"METEOR: caption {name!r} has no references")
        parts = [*references[name], words]
        texts = [" ".join(w for w in part if "|||" not in w) for part in parts]
        asked.append(" ||| ".join(["SCORE", *texts]))
    counts = _java(command, "\n".join(asked) + "\n").splitlines()
    if len(counts) != len(asked):
        raise RecordError(f"METEOR: {len(counts)} answers for {len(asked)} captions")
    line = " ||| ".join(["EVAL", *(c.strip() for c in counts)])
    values = [float(v) for v in _java(command, line + "\n").split()]
    return values[-1], dict(zip(captions, values[:-1], strict=True))


def _folder() -> pathlib.Path:
    if (missing := available()) is not None:
        raise ConfigError(
            f"METEOR and the PTB tokenizer cannot run: {missing}",
            mend="install a Java runtime and `pip install --no-deps pycocoevalcap` (104 MB), or "
            "leave out --meteor and use --tokens=own",
        )
    # The package has no `__init__.py`, so its folder is where its modules are looked for.
    spec = importlib.util.find_spec("pycocoevalcap")
    return pathlib.Path(next(iter(spec.submodule_search_locations)))


def _java(arguments: Sequence[str], text: str) -> str:
    try:
        done = subprocess.run(
            ["java", *arguments],
            input=text.encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise RecordError(f"java {arguments[-1]}: no end after {_SECONDS:g} s") from e
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise RecordError(f"java ended with code {done.returncode}: {said}")
    return done.stdout.decode()
