"""Rendered training data: pictures as encoded bytes in ArrayRecord, so that training opens no video.

example.py   one record as the bytes of a `tf.train.Example`, without TensorFlow
pictures.py  pictures to bytes and back: which codec, what it costs
catalog.py   what a finished store is: its files, settings, counts, checksums
seal.py      finishes a store; also takes in one that TFDS built
write.py     renders records into shards: parallel, resumable, by the jobs room
read.py      pictures by their place in a store

The layout is TFDS's own (`tfds.builder_from_directory` reads a store as it is), so there is one
kind of store, whether `write_shards` or `tfds build` made it:

    sg4v_video_captions-train.array_record-00000-of-00004   records: text and encoded pictures
    dataset_info.json, features.json, metadata.json         what TFDS wants to know
    records.jsonl                                           the records' text and sizes alone
    store.json                                              counts, sizes and checksums; last

A folder without `store.json` is not finished and is refused.
"""
