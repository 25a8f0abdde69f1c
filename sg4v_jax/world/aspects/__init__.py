"""The world of the caption-quality study: the five temporal aspects of TempCompass, and the camera.

scene.py      what happens: a thing, perhaps a second one at rest, two events, a camera
render.py     scene -> u8 frames
facts.py      scene -> what can be said of it, sentence by sentence, and facts made false
captions.py   facts -> captions of every arm, from templates kept apart by use
questions.py  scene -> questions by aspect and form, with no answer in their wording
reader.py     caption -> facts -> answer: what a caption alone tells

The world of `world.scene` is smaller: the quickstart's model knows it.
"""
