"""An engine without a model, for tests of the runner; run as a program it dies when told to.

python asking.py DATA OUT N    answers MVBench's questions, and is gone at batch N, as by kill -9
"""

from __future__ import annotations

import os
import sys
import threading
import types

import numpy as np

from sg4v_jax.errors import MissingVideoError, RecordError
from sg4v_jax.infer.engine import Prepared, Shown


class Inputs:
    """Shows a video as one number: how often it was asked for."""

    visual, frames, sampling, band, longest_side = "overview", 16, "mvbench", 50, 1920
    template, double_bos = "llava_llama_3", None

    def __init__(self):
        self.loaded, self.missing, self.lock = [], set(), threading.Lock()

    def load(self, visual, *, seconds):
        with self.lock:
            self.loaded.append(visual)
        if "strange" in visual.path:
            raise ZeroDivisionError("a fault of a decoder")
        if any(name in visual.path for name in self.missing):
            raise MissingVideoError(f"{os.path.basename(visual.path)}: no such file")
        return types.SimpleNamespace(pixels=np.zeros((2, 3, 3), np.uint8))


class Engine:
    """Answers with the question's first words; `on_batch(n)` is called before batch n."""

    def __init__(self, on_batch=lambda number: None):
        self.settings, self.weights = types.SimpleNamespace(inputs=Inputs()), "0a1b"
        self.on_batch, self.batches, self.asked, self.systems = on_batch, [], [], []

    def fingerprint(self):
        return self.weights

    def show(self, picture):
        return Shown(picture.shape[1::-1], picture[None])

    def lay_out(self, request, *, max_new_tokens):
        text = request.turns[0].content
        if "<|eot_id|>" in text:
            raise RecordError("turn 0 (user): the text holds a control token")
        self.systems.append(request.system)
        assert isinstance(request.pictures[0], Shown)
        return types.SimpleNamespace(sequence=types.SimpleNamespace(tokens=list(text)), text=text)

    def collate(self, samples, *, max_new_tokens, rows):
        texts = [s.text for s in samples]
        batch = types.SimpleNamespace(tokens=np.zeros((rows, 64)), tiles=np.zeros((rows, 1)))
        batch.texts = texts
        return Prepared(batch, len(samples), max_new_tokens)

    def generate(self, prepared, *, sampling):
        self.on_batch(len(self.batches))
        self.batches.append(prepared)
        self.asked += prepared.batch.texts
        return [f"B) {text.split('Question: ')[-1][:9]}" for text in prepared.batch.texts]


if __name__ == "__main__":
    from sg4v_jax.evals.answering import Pace
    from sg4v_jax.evals.predict import Plan, predict

    data, out, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
    engine = Engine(lambda number: os._exit(9) if number == last else None)
    plan = Plan(benchmark="mvbench", data=data, model="m", tasks=("SC",), shard=8, lease=0.5)
    predict(plan, engine=engine, out=out, pace=Pace(batch=2, workers=1))
    print(len(engine.asked))
