"""Settings that every training config has, with what is usual for them."""

import ml_collections
from ml_collections import config_dict

from sg4v_jax.text.chat import GRID_PREAMBLE


def base() -> ml_collections.ConfigDict:
    """A config with every field; a run's own file sets what is particular to it."""
    c = ml_collections.ConfigDict()
    c.model = config_dict.ConfigDict(
        dict(
            preset="sg4v-8b",  # a key of models.video_lm.PRESETS
            init="",  # a model directory to start from, instead of random weights
            dtype="bfloat16",  # of activations and matmuls
            frozen_dtype="",  # of frozen parameters; as they come if empty. Trained ones are f32
            attention="auto",  # auto | xla | splash | cudnn
            remat="full",  # none | dots | projections | offload | full
            # Low-rank adapters: rank 0 is none; targets are patterns of matrix paths, or names of
            # models.lora.TARGETS. How much of each part trains is set by optim.parts.
            lora=dict(rank=0, alpha=0.0, dropout=0.0, targets=("llm",)),
        )
    )
    c.data = config_dict.ConfigDict(
        dict(
            annotations=(),  # LLaVA-style JSON files: a short form of `parts`
            parts=(),  # dicts: name, file, format, root, expected, source, licence, next_step
            root="",  # what paths of `annotations` are relative to; each file's folder if empty
            tokenizer="",  # a tokenizer file; the one of model.init if empty
            double_bos=config_dict.placeholder(bool),  # begin-of-text twice; None: ask tokenizer
            visual="anyres",  # anyres | overview
            frames=16,
            sampling="run",  # which frames: run | mvbench | tempcompass
            train_sampling="",  # rand: one frame drawn in each 16th, anew each epoch
            band=50,
            longest_side=1920,  # cap of the grid; 0 = none
            template="llava_llama_3",
            preamble=GRID_PREAMBLE,  # before the first question in chat; records carry their own
            positions=6144,  # S, what one row holds
            tiles=10,  # T
            scored=2048,  # L
            too_long="error",  # a record longer than a row: error | drop | truncate
            batch_rows=64,
            accumulate=1,
            norm="token",  # token | microbatch (the original's mean of means)
            microbatch=0,
            max_skipped=0.01,  # share of records that may be unusable before the run stops
            decode_seconds=60.0,  # longer decodes are given up
        )
    )
    c.optim = config_dict.ConfigDict(
        dict(
            steps=0,  # 0: as many as `epochs` take
            epochs=1,
            stop_step=0,  # end the run at this step of the schedule; 0: at its end
            # What trains, by part: full | lora | frozen; each part is a group of its own.
            parts=dict(),  # e.g. dict(llm="lora", projector="full", tower="frozen", ...)
            rules=((".*", "all"),),  # instead: (path pattern, group), first match wins; 'frozen'
            groups=dict(all=dict(learning_rate=2e-5, weight_decay=0.0)),
            schedule="cosine",
            warmup_ratio=0.03,
            floor=0.0,
            b1=0.9,
            b2=0.999,
            eps=1e-8,
            clip=1.0,
            vocab_chunks=1,
        )
    )
    c.eval = config_dict.ConfigDict(
        dict(
            every=0,  # steps between evaluations; 0: none
            annotations=(),  # LLaVA-style JSON files of held-out records
            parts=(),  # the same with all of a part's fields
            root="",
        )
    )
    # Benchmarks asked on the way: dicts of tasks.benchmark_evals.Spec, for example
    # dict(benchmark="mvbench", data="data/MVBench", every=500, limit=10), or benchmark="world".
    c.evals = ()
    c.run = config_dict.ConfigDict(
        dict(
            seed=0,
            log_every=1,
            save_every=500,
            keep=2,  # latest checkpoints that stay
            best="",  # keep also the best one by this metric, e.g. eval/loss
            best_mode="min",  # min | max
            nonfinite="stop",  # on a NaN or inf: stop | skip
            tensorboard=False,  # needs the extra [tensorboard]
            host_timeout=60.0,  # seconds without a sign of life after which a process is lost
            hang_timeout=900.0,  # seconds in which nothing moves anywhere
            maintenance_url="auto",  # auto: the metadata server of a machine with TPU; "": none
            compile_cache="",  # a folder, one for all hosts; as the environment says if empty
            workers=0,
            threads=2,
            mesh=dict(data=1, fsdp=-1, tensor=1, context=1),  # -1: what is left
        )
    )
    c.profile = config_dict.ConfigDict(
        dict(
            steps="",  # FIRST:LAST, the steps traced to WORKDIR/profile; counted from 1
            who="primary",  # primary | all: which processes
        )
    )
    return c
