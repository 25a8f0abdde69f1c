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
"""
