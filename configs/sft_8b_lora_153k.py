"""ShareGPT4Video-8B on questions alone: row 1 of the paper's caption ablation (ViT frozen).

    sg4v data check --config=configs/sft_8b_lora_153k.py
    sg4v train --config=configs/sft_8b_lora_153k.py --workdir=runs/sft_8b_lora_153k

Reproduces `lora_finetune_153k.sh`: LoRA (rank 128, alpha 256, dropout 0.05) on the language model
at 2e-4, the projector trained whole at 2e-5, tower, embeddings, norms, head and newline frozen;
1 epoch, about 128 samples a step (64 rows of two), cosine with 3 % warm-up, AdamW without decay.
The original's loss is the mean of the means of its micro-batches of 4: `norm="microbatch"`.

Chips: 32 (v5p-64). Hours: about 0.5 (an estimate: arithmetic at 45 % of peak, nothing measured).
Reproduces: Video-Bench 37.3, MVBench 47.2, TempCompass 57.2 (as recalled, not confirmed).
`sft_8b_lora_153k.py:clip_lora` also adapts CLIP's q, k and v, as the original did when its base
checkpoint's config said that the tower was unfrozen.
"""

from sg4v_jax.configs import common

from sg4v_jax.errors import ConfigError

STAGES = ("", "clip_lora")

# The released data is one file of 181K records; the 153K of this run are those without captions.
MIX_153K = dict(
    name="mix153k",
    file="data/image_grid/sharegpt4video_sft-mix153k.json",
    format="llava_json",
    root="data/image_grid",
    expected=153_000,
    source="VideoChatGPT 13K, CLEVRER 45K, EgoQA 8K, NExT-QA 34K, TGIF-Transition 53K",
    licence="CC BY-NC 4.0 (annotations); videos by their own sources",
    next_step="take the records without captions out of "
    "sharegpt4video_mix181k_vqa-153k_share-cap-28k.json (hub dataset ShareGPT4Video/"
    "ShareGPT4Video); make grids of its videos, or put the published ones below root",
)


def get_config(arg: str = ""):
    """The run's config; `clip_lora` adds the original's adapters on CLIP."""
    if arg not in STAGES:
        raise ConfigError(f"argument {arg!r} is unknown", mend=f"use one of {STAGES}")
    c = common.base()
    c.model.init = "checkpoints/llava-v1.6-llama3-8b"
    c.model.frozen_dtype = "bfloat16"
    c.model.lora.update(rank=128, alpha=256.0, dropout=0.05, targets=("llm",))
    c.data.parts = (MIX_153K,)
    c.data.too_long = "truncate"  # at 6144, as the original
    c.data.norm, c.data.microbatch = "microbatch", 4
    c.optim.parts = dict(llm="lora", projector="full", tower="frozen", separators="frozen")
    c.optim.groups = dict(llm=dict(learning_rate=2e-4), projector=dict(learning_rate=2e-5))
    c.optim.vocab_chunks = 6
    if arg == "clip_lora":
        c.model.lora.targets = ("llm", "clip_qkv")
        c.optim.parts.tower = "lora"
        c.optim.groups.tower = dict(learning_rate=2e-4)
    c.run.seed = 42
    c.run.save_every = 200
    c.run.workers, c.run.threads = 4, 4
    c.run.tensorboard = True
    return c
