"""The paper's caption ablation at its own size: five rows, as runs of `sg4v sweep`. Not run.

    sg4v sweep --config=configs/study/8b.py --out=gs://BUCKET/study_8b --launcher=slice \
        --settings=launch/settings/v5p-64.sh --dry_run
    sg4v eval predict --benchmark=tempcompass --model=gs://BUCKET/study_8b/row5-seed42 ...

Rows 1 and 5 are the two released recipes (sft_8b_lora_153k.py and sft_8b_lora_181k.py). Rows 2 to 4
have no released script: they are row 5 with the tower frozen, and with short captions of the same
28K videos in the place of the detailed ones, as the bridge makes them:

    sg4v data build --captions=data/sharegpt4video_40k.jsonl --panda=data/panda70m.csv \
        --only='panda|ego4d|bdd' --style=short --format=llava_json --out=runs/share28k

Everything else is the same in rows 2 to 5: videos, number of samples, order, steps, rates. Each
row with three seeds; differences are paired by seed.

Chips: 32 (v5p-64) a run. Hours: 15 runs of about 0.8 to 1.1 hours (`sg4v plan`, launch/README.md:
compiled for, not run on, TPU).
"""

from sg4v_jax.configs import mixes, sft_8b_lora_181k

SHORT = "runs/share28k/short.json"
SEEDS = (42, 43, 44)
# row -> (captions, whether the tower trains), as the paper's Table 2
ROWS = {1: ("none", False), 2: (SHORT, False), 3: (SHORT, True), 4: ("", False), 5: ("", True)}


def get_config(arg: str = ""):
    """Row 5, whose data are six named parts."""
    return sft_8b_lora_181k.get_config("parts")


def sweep():
    """Overrides of the five rows, each with its seeds."""
    groups = get_config().optim.groups.to_dict()
    for row, (captions, unlocked) in ROWS.items():
        frozen = {name: rate for name, rate in groups.items() if name != "tower"}
        for seed in SEEDS:
            yield {
                "name": f"row{row}-seed{seed}",
                "data.parts": mixes.mix_181k(captions=captions),
                # The released scripts' own micro-batches: 4 without captions, 2 with.
                "data.microbatch": 4 if row == 1 else 2,
                "optim.parts.tower": "full" if unlocked else "frozen",
                "optim.groups": groups if unlocked else frozen,
                "run.seed": seed,
            }
