"""The bridge: captions become training data whose arms differ in text alone.

slices.py     a caption file as stretches of bytes that can be worked on one by one
rows.py       a stretch as rows: encodings, broken JSON, broken CSV
clips.py      the one form between all formats: a captioned clip; and what can be wrong with one
formats/      caption files of every kind, read and written: one module a format
sentences.py  text as sentences
styles.py     arms: detailed, short, first sentences, cut, static, shuffled, mixed
join.py       short captions from Panda-70M's CSV, by video and time
work.py       a stretch of the source to finished lines, arm by arm: the work of a job
build.py      the job: `sg4v data build`
assembly.py   finished slices to files: duplicates, counts, limits
output.py     several files that appear together and whole
recognise.py  which records of a conversation mix are caption samples
swap.py       exactly the caption samples of a conversation mix replaced, the rest to the byte
split.py      a published mix taken apart into its named parts: `sg4v data split`
spans.py      the objects of a JSON file as stretches of its bytes
diff.py       the proof that two files differ in text alone: `sg4v data diff`
proof.py      the same as a page, beside what was built
told.py       what was built, in words
shards.py     arms as ArrayRecord shards with encoded pictures
"""
