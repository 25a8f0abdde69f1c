"""Making captions: what is asked of a captioner, by whom it is answered, and in what order.

prompts.py            exact ShareCaptioner-Video strings; hierarchical prompts for chat models
presets.py            named ways to caption: paper, model, demo, batch
compose.py            several frames in one picture, as the released scripts do it
sliding.py            DiffSW, fast, clip and re-caption programs: they yield requests, get texts
wavefront.py          many programs at once, their requests in full batches
rows.py               the row that a captioned clip becomes
captioners.py         `CaptionRequest`, the `Captioner` protocol, `open_captioner`
world_captioner.py    the world's oracle: sees only its request, errs at set rates
openai_captioner.py   any OpenAI-compatible HTTP endpoint
local_captioner.py    a model on this machine's devices (loads jax)

videos.py             folders and lists of videos as items of a job
frames.py             frames with their times, at most 1024 pixels long
embedders.py          pictures as vectors, and thresholds; tower_embedder.py: a tower (loads jax)
keyframing.py         `sg4v caption keyframes`; keyframe_index.py: the files that it writes
shot_recall.py        how many of a video's shots have a key frame
run.py                `sg4v caption run`; run_items.py: its items in each mode
job.py                a verb's job from items to one file of rows
"""
