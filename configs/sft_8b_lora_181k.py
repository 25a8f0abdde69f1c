"""ShareGPT4Video-8B with the 28K detailed captions: row 5 of the caption ablation, the release.

    sg4v data check --config=configs/sft_8b_lora_181k.py
    sg4v train --config=configs/sft_8b_lora_181k.py --workdir=runs/sft_8b_lora_181k

Reproduces `lora_full_finetune_181k_add-share28k.sh`: as `sft_8b_lora_153k.py`, and 28K captions
more, and the tower unlocked at 2e-6 (the blocks that run: the last one and the norm after it never
get a gradient). Micro-batches of 2.

Chips: 32 (v5p-64). Hours: about 0.6 (an estimate: arithmetic at 45 % of peak, nothing measured).
Reproduces: Video-Bench 41.2, MVBench 51.2, TempCompass 61.5.
`sft_8b_lora_181k.py:clip_lora` also adapts CLIP's q, k and v, at the tower's rate;
`sft_8b_lora_181k.py:parts` reads the mix as six named parts (`mixes.py`), to swap one.
"""

from sg4v_jax.configs import mixes, sft_8b_lora_153k

STAGES = (*sft_8b_lora_153k.STAGES, "parts")

MIX_181K = dict(
    sft_8b_lora_153k.MIX_153K,
    name="mix181k",
    file="data/image_grid/sharegpt4video_sft-mix181k-add-share-28k.json",
    expected=181_000,
    source=sft_8b_lora_153k.MIX_153K["source"] + ", ShareGPT4Video captions 28K",
    next_step="download sharegpt4video_mix181k_vqa-153k_share-cap-28k.json (hub dataset "
    "ShareGPT4Video/ShareGPT4Video) under this name; make grids of its videos, or put the "
    "published ones below root",
)


def get_config(arg: str = ""):
    c = sft_8b_lora_153k.get_config("" if arg == "parts" else arg)
    c.data.parts = mixes.mix_181k() if arg == "parts" else (MIX_181K,)
    c.data.microbatch = 2
    c.optim.parts.tower = "full+lora" if arg == "clip_lora" else "full"
    c.optim.groups.tower = dict(learning_rate=2e-6)
    return c
