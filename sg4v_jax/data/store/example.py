"""One record as the bytes of a `tf.train.Example`, the form that TFDS gives records.

    message Example  { Features features = 1; }
    message Features { map<string, Feature> feature = 1; }
    message Feature  { BytesList bytes_list = 1; FloatList ...; Int64List int64_list = 3; }

The messages are described here to the protobuf library, in a pool of their own: TensorFlow, where
somebody has loaded it, has others of the same names. Floats are not used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from sg4v_jax.errors import RecordError

Value = Sequence[bytes] | Sequence[int]
_Field = descriptor_pb2.FieldDescriptorProto


def encode(values: Mapping[str, Value]) -> bytes:
    """The bytes of an Example with these lists; the same values give the same bytes.

    >>> encode({"id": [b"a"], "n": [1, 2]})
    b'\n\x1a\n\x0b\n\x02id\x12\x05\n\x03\n\x01a\n\x0b\n\x01n\x12\x06\x1a\x04\n\x02\x01\x02'
    """
    example = _message()()
    for name, value in values.items():
        feature = example.features.feature[name]
        kind = feature.int64_list if value and isinstance(value[0], int) else feature.bytes_list
        kind.value.extend(value)
    return example.SerializeToString(deterministic=True)


def decode(data: bytes, *, where: str) -> dict[str, list[bytes] | list[int]]:
    """The lists of an Example; one that is empty may be missing, as TFDS leaves it out.

    Args:
      where: file and number, for the message.

    Raises:
      RecordError: the bytes are no Example.
    """
    try:
        features = _message().FromString(data).features.feature
    except DecodeError as e:
        raise RecordError(
            f"{where}: not a tf.train.Example ({e})", mend="build the store again"
        ) from e
    return {
        name: list(f.int64_list.value if f.HasField("int64_list") else f.bytes_list.value)
        for name, f in features.items()
    }


@functools.cache
def _message():
    file = descriptor_pb2.FileDescriptorProto(
        name="sg4v_jax/example.proto", package="sg4v_jax", syntax="proto3"
    )
    _add(file, "BytesList", [("value", 1, _Field.TYPE_BYTES, "", True)])
    _add(file, "Int64List", [("value", 1, _Field.TYPE_INT64, "", True)])
    feature = _add(
        file,
        "Feature",
        [
            ("bytes_list", 1, _Field.TYPE_MESSAGE, "BytesList", False),
            ("int64_list", 3, _Field.TYPE_MESSAGE, "Int64List", False),
        ],
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = _add(
        file, "Features", [("feature", 1, _Field.TYPE_MESSAGE, "Features.FeatureEntry", True)]
    )
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _fields(
        entry,
        [
            ("key", 1, _Field.TYPE_STRING, "", False),
            ("value", 2, _Field.TYPE_MESSAGE, "Feature", False),
        ],
    )
    _add(file, "Example", [("features", 1, _Field.TYPE_MESSAGE, "Features", False)])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sg4v_jax.Example"))


def _add(file, name: str, fields):
    message = file.message_type.add(name=name)
    _fields(message, fields)
    return message


def _fields(message, fields) -> None:
    for name, number, kind, of, repeated in fields:
        label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, type=kind, label=label)
        if of:
            field.type_name = f".sg4v_jax.{of}"
