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
            remat="full",  # none | dots | full
        )
    )
    c.data = config_dict.ConfigDict(
        dict(
            annotations=(),  # LLaVA-style JSON files
            root="",  # what their paths are relative to; the file's own folder if empty
            tokenizer="",  # a tokenizer.json; the one of model.init if empty
            visual="anyres",  # anyres | overview
            frames=16,
            band=50,
            longest_side=1920,
            template="llava_llama_3",
            preamble=GRID_PREAMBLE,  # before the first question in chat; records carry their own
            positions=6144,  # S, what one row holds
            tiles=10,  # T
            scored=2048,  # L
            batch_rows=64,
            accumulate=1,
            norm="token",  # token | microbatch (the original's mean of means)
            microbatch=0,
            max_skipped=0.01,
        )
    )
    c.optim = config_dict.ConfigDict(
        dict(
            steps=0,  # 0: as many as `epochs` take
            epochs=1,
            stop_step=0,  # end the run at this step of the schedule; 0: at its end
            rules=((".*", "all"),),  # (path pattern, group), first match wins; 'frozen'
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
    c.run = config_dict.ConfigDict(
        dict(
            seed=0,
            log_every=1,
            save_every=500,
            keep=2,
            workers=0,
            threads=2,
            mesh=dict(fsdp=-1),
        )
    )
    return c
