"""Aligns a fresh projector: the first of two runs that make the base from Llama-3-8B and CLIP.

    sg4v data check --config=configs/pretrain_projector_8b.py
    sg4v train --config=configs/pretrain_projector_8b.py --workdir=runs/pretrain_projector_8b

Reproduces the pre-training script of Open-LLaVA-NeXT's 8B model: 558K images with short captions,
template `plain` (image, then caption), the projector alone trained at 1e-3, 1 epoch, 256 samples a
step (128 rows of two), cosine with 3 % warm-up, any-resolution tiles.
`checkpoints/llama3-8b-clip` is a model directory of Llama-3-8B-Instruct, CLIP ViT-L/14-336 and a
random projector and newline.

Chips: 32 (v5p-64). Hours: about 1.8 (an estimate: arithmetic at 45 % of peak, nothing measured).
Reproduces no row by itself: `sft_llava_next_8b.py` goes on from here.
"""

from sg4v_jax.configs import common

LCS_558K = dict(
    name="lcs558k",
    file="data/llava/llava_pretrain/blip_laion_cc_sbu_558k.json",
    format="llava_json",
    root="data/llava/llava_pretrain/images",
    expected=558_000,
    source="LAION, CC and SBU images with BLIP captions (hub dataset liuhaotian/LLaVA-Pretrain)",
    licence="of the images and of BLIP; see the dataset's card",
    next_step="download the JSON and images.zip of the hub dataset liuhaotian/LLaVA-Pretrain",
)


def get_config(arg: str = ""):
    c = common.base()
    c.model.init = "checkpoints/llama3-8b-clip"
    c.model.frozen_dtype = "bfloat16"
    c.data.parts = (LCS_558K,)
    c.data.template = "plain"
    c.data.scored = 512
    c.data.too_long = "truncate"
    c.data.batch_rows = 128
    c.data.norm, c.data.microbatch = "microbatch", 8
    c.optim.parts = dict(llm="frozen", projector="full", tower="frozen", separators="frozen")
    c.optim.groups = dict(projector=dict(learning_rate=1e-3))
    c.optim.vocab_chunks = 6
    c.run.seed = 42
    c.run.workers, c.run.threads = 4, 4
    c.run.tensorboard = True
    return c
