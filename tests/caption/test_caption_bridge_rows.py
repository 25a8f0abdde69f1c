"""Files as strangers write them: encodings, line ends, broken JSON and CSV, cut at any byte."""

from __future__ import annotations

import csv
import io
import json

import pytest

from sg4v_jax.caption.bridge import slices, spans
from sg4v_jax.caption.bridge.rows import RowReader
from sg4v_jax.errors import ConfigError, RecordError

ITEMS = [{"id": i, "t": '}{][ "\\" é \U0001f600\n', "n": [{"x": []}]} for i in range(9)]


def read(file, *, size: int = slices.SIZE, fallback: str = "") -> list:
    sliced = slices.cut(file, size=size)
    reader = RowReader(file.name, sliced.layout, sliced.header, fallback)
    rows = []
    for part in sliced.slices:
        rows += reader.rows(slices.read(file, part), first=part.first)
    return rows


def faults(rows) -> list[tuple[str, str]]:
    return [(row.where.partition(": ")[2], row.fault.kind) for row in rows if row.fault]


LISTS = [
    json.dumps(ITEMS),
    json.dumps(ITEMS, indent=2),
    json.dumps(ITEMS, ensure_ascii=False, indent=1).replace("\n", "\r\n"),
    "  [" + " , ".join(json.dumps(i) for i in ITEMS) + " ]\n \n",
]


@pytest.mark.parametrize("text", LISTS)
@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_a_list_in_any_layout_and_slices(tmp_path, text, size):
    file = tmp_path / "a.json"
    file.write_bytes(text.encode())
    rows = read(file, size=size)
    assert [row.values for row in rows] == ITEMS and not faults(rows)
    assert [row.where for row in rows] == [f"a.json: record {n}" for n in range(1, 10)]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("text", LISTS)
def test_elements_whatever_the_blocks(text, block):
    data = text.encode()
    found = [data[a:b] for a, b in spans.elements(io.BytesIO(data), where="x", block=block)]
    assert [json.loads(raw) for raw in found] == ITEMS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a JSON list of records, it begins with b'{}'"),
        ('[{"a": 1}', "after record 1: expected ',' or ']', got b''"),
        ('[{"a": 1} {"b": 2}]', "after record 1: expected ',' or ']', got b'{\"b\": 2}]'"),
        ('[{"a": 1},]', "record 2: expected an object, got b']'"),
        ("[1, 2]", "record 1: expected an object"),
        ('[{"a": 1}, {"b": "x]', "record 2: its brackets or quotes are never closed"),
        ('[{"a": 1}, {"b": [1}', "record 2: its brackets or quotes are never closed"),
        ("[{}] x", "after the list there is b'x'"),
        ("[] []", r"after the list there is b'\[\]'"),
    ],
)
def test_a_list_that_is_none(tmp_path, text, message):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        slices.cut(file)
    assert "a.json" in str(caught.value) and caught.value.mend
    file.write_text("[ ]")
    assert slices.cut(file).slices == ()


def test_lines_of_every_fault(tmp_path):
    file = tmp_path / "a.jsonl"
    deep = b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    lines = [
        b'\xef\xbb\xbf{"id": "bom"}\r',
        b"",
        b'{"id": "caf\xe9"}',
        b'{"id": "cut',
        b"[1]",
        deep,
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"n": NaN}',
        b'{"n": Infinity}',
        b'{"id": "a b"}',
    ]
    file.write_bytes(b"\n".join(lines))
    for size in (1, 40, 10**6):
        rows = read(file, size=size)
        assert faults(rows) == [
            ("line 3", "not UTF-8"),
            ("line 4", "not JSON"),
            ("line 5", "not an object"),
            ("line 6", "not JSON"),
            ("line 7", "not JSON"),
            ("line 8", "not JSON"),
            ("line 9", "not JSON"),
        ]
        assert [row.values["id"] for row in rows if row.values] == ["bom", "a b"]
    assert rows[1].fault.value == "byte 11 is 0xe9"


def test_rows_that_are_not_utf_8_by_a_named_encoding(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"id": "caf\xe9 \x93x\x94"}\n{"id": "caf\xc3\xa9"}\n{"id": "\x81"}\n')
    rows = read(file, fallback="cp1252")
    assert rows[0].values == {"id": "café “x”"} and rows[0].decoded_as == "cp1252"
    assert rows[1].values == {"id": "café"} and not rows[1].decoded_as
    assert faults(rows) == [("line 3", "not UTF-8")]
    assert rows[2].fault.value == "byte 0x81 is not cp1252 either"
    assert read(file, fallback="latin-1")[2].values == {"id": "\x81"}
    with pytest.raises(ConfigError, match="fallback encoding 'utf-7' is not read"):
        RowReader("a", "lines", fallback="utf-7")
    file.write_bytes("{}".encode("utf-16"))
    with pytest.raises(RecordError, match="the text is UTF-16"):
        slices.cut(file)


CELLS = [["1", "plain"], ["2", 'a "quoted", cell\nof two lines'], ["3", '5" pipe'], ["4", ""],
         ["5", '""'], ["6", "x\r\ny,"], ["7", '",'], ["8", "é"]]  # fmt: skip


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 30, 10**6])
def test_csv_as_the_standard_writes_it(tmp_path, quoting, end, size):
    file = tmp_path / "a.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as f:
        writer = csv.writer(f, quoting=quoting, lineterminator=end)
        writer.writerows([["id", "t"], *CELLS])
    rows = read(file, size=size)
    assert [list(row.values.values()) for row in rows] == CELLS
    assert [row.where for row in rows][2] == "a.csv: line 5"


def test_broken_csv(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b'id,t\n1\n2,x,y\n\n3,"x"y\n4,5" pipe\n5,caf\xe9\n')
    rows = read(file)
    assert faults(rows) == [
        ("line 2", "wrong number of cells"),
        ("line 3", "wrong number of cells"),
        ("line 5", "wrong number of cells"),
        ("line 7", "not UTF-8"),
    ]
    assert [row.values for row in rows if row.values] == [{"id": "4", "t": '5" pipe'}]
    assert rows[0].fault.value == "1 cells for 2 columns"
    file.write_bytes(b'id,t\n1,x\n2,"never closed\n3,x\n')
    with pytest.raises(RecordError, match="line 3: a quote is opened and never closed"):
        slices.cut(file)
    for header in (b"", b"id,id\n", b"id,\n"):
        file.write_bytes(header + b"\n1,2\n")
        with pytest.raises(RecordError, match="line 1: the columns are"):
            read(file)


def test_every_byte_where_a_file_may_be_cut(tmp_path):
    for name, text in [("a.json", json.dumps(ITEMS[:3])), ("a.csv", 'id,t\n1,"x,\ny"\n2,"z"\n')]:
        file = tmp_path / name
        for end in range(1, len(text)):
            file.write_text(text[:end])
            try:
                rows = read(file)
            except RecordError as e:
                assert name in str(e)
            else:
                assert name == "a.csv" and len(rows) < 3
