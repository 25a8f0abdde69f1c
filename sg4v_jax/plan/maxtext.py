"""Keeps what XLA makes of MaxText's own training step, to be read beside ours.

    python maxtext.py OUT.json CONFIG.yml KEY=VALUE ...     # in MaxText's environment, not in ours
    sg4v plan --hlo=OUT.json

A program of its own for MaxText's Python (its pins of jax are not ours): it runs MaxText's
`train_compile` with its arguments as they are, and writes the optimized HLO text and the memory plan
that `train_compile` itself throws away. Nothing of this package is imported, and MaxText is no
dependency. The README has the commands.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import pathlib
import sys

MODULE = "maxtext.trainers.pre_train.train_compile"
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # libtpu compiles; no device is asked for
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server is asked, either
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "DECOUPLE_GCLOUD": "TRUE",
}


def main(out: str, arguments: list[str]) -> None:
    """Compiles as MaxText does, and writes `out` (numbers) and `out` + `.hlo` (text)."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    module = importlib.import_module(MODULE)
    plain = module.jit_and_compile

    def keeping(*args, **kwargs):
        compiled = plain(*args, **kwargs)
        memory = compiled.memory_analysis()
        target = pathlib.Path(out)
        text = target.with_suffix(".hlo")
        text.write_text(compiled.as_text())
        packages = ("maxtext", "jax", "libtpu")
        target.write_text(
            json.dumps(
                {
                    "arguments": arguments,
                    "hlo": text.name,
                    "memory": {
                        "arguments": memory.argument_size_in_bytes,
                        "temporaries": memory.temp_size_in_bytes,
                    },
                    "versions": {p: importlib.metadata.version(p) for p in packages},
                },
                indent=1,
            )
        )
        return compiled

    module.jit_and_compile = keeping
    module.main([MODULE, *arguments])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
