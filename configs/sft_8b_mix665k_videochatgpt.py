"""LLaVA-mix665K + VideoChatGPT-100K: the data of the paper's first experiment, on our 8B model.

    sg4v data build --replace_captions=data/videochatgpt/VideoInstruct100K.json --expected=28000 --with=data/sharegpt4video_40k.jsonl --only='panda|ego4d|bdd' --out=runs/vcg_share28k
    sg4v data check --config=configs/sft_8b_mix665k_videochatgpt.py:share28k
    sg4v train --config=configs/sft_8b_mix665k_videochatgpt.py:share28k --workdir=runs/share28k
    sg4v train --config=configs/sft_8b_mix665k_videochatgpt.py --workdir=runs/vcg_baseline

Without an argument VideoChatGPT-100K is as published; `share28k` has its 28K caption samples
replaced one for one, every other record the same to the byte. The paper trained VideoLLaVA-7B and
LLaVA-VID so (2e-5, 1 epoch, 128 samples a step, cosine with 3 % warm-up, no decay, towers frozen),
whose models are not here: this is the data and schedule of that experiment on LLaVA-NeXT-8B.

Chips: 32 (v5p-64). Hours: about 4.9 each (an estimate: arithmetic at 45 % of peak, nothing measured).
Reproduces no published row; the paper's gains are +1.1 to +2.3 points on average.
"""

from sg4v_jax.configs import mixes, sft_8b_full_181k

from sg4v_jax.errors import ConfigError

STAGES = ("", "share28k")


def get_config(arg: str = ""):
    if arg not in STAGES:
        raise ConfigError(f"argument {arg!r} is unknown", mend=f"use one of {STAGES}")
    c = sft_8b_full_181k.get_config()
    captions = "runs/vcg_share28k/detailed.json" if arg == "share28k" else ""
    c.data.parts = mixes.mix665k_videochatgpt(captions=captions)
    c.data.norm, c.data.microbatch = "token", 0
    c.optim.parts.tower = "frozen"
    del c.optim.groups.tower
    return c
