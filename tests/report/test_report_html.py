"""The page read back by a parser: structure, escaping, accessibility, self-containment."""

from __future__ import annotations

import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from sg4v_jax.errors import RecordError, StorageError
from sg4v_jax.report import plot
from sg4v_jax.report.html import Card, Page

BAD = "<script>alert('x')</script> & \"q\""
PNG = plot.png_bytes(np.zeros((6, 8, 3), np.uint8))
VOID = {"meta", "img", "br", "hr"}


class _Reader(html.parser.HTMLParser):
    """Collects elements and their text, and fails on tags that do not match."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []  # (innermost tag, text)
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self._open[-1], data))

    def find(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]


def _full_page(text: str = "words") -> Page:
    page = Page(text, subtitle=text)
    for _ in range(3):
        page.section(text, intro=text)
    page.paragraph(text)
    page.note(text)
    page.facts({text: text, "steps": 1200})
    page.table([text, "n"], [[text, 1], [text, 2]], caption=text, highlight=[1])
    chart = plot.line_chart(
        [plot.Series(text, [0, 1], [0, 1])] * 2, title=text, x_label=text, y_label=text
    )
    page.figure(chart, caption=text, alt=text)
    page.figure(PNG, caption=text, alt=text)
    page.code(text)
    page.cards([Card(picture=PNG, alt=text, title=text, facts={text: text}, right=False)])
    return page


def test_everything_is_escaped():
    page = _full_page(BAD).render()
    reader = _Reader(page)
    assert not reader.find("script")
    assert "<script" not in page
    for tag in ("h1", "h2", "p", "th", "td", "caption", "figcaption", "code", "h3", "dt", "dd"):
        assert BAD in reader.words(tag), tag
    assert BAD in [image["alt"] for image in reader.find("img")]
    assert not any(key.startswith("on") for _, found in reader.elements for key in found)


def test_a_page_asks_for_nothing_from_outside():
    page = _full_page().render()
    reader = _Reader(page)
    policies = [m["content"] for m in reader.find("meta") if "http-equiv" in m]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'")
    for tag in ("script", "link", "iframe", "object", "base"):
        assert not reader.find(tag)
    for _, attributes in reader.elements:
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/"))
    assert "url(" not in page and "@import" not in page
    assert "http" not in re.sub(r'xmlns="[^"]*"|http-equiv', "", page)


def test_structure_for_assistive_technology():
    reader = _Reader(_full_page().render())
    assert reader.find("html")[0]["lang"] == "en"
    assert len(reader.find("h1")) == 1 and len(reader.find("main")) == 1
    ids = [a["id"] for _, a in reader.elements if "id" in a]
    links = [a["href"] for a in reader.find("a")]
    assert len(ids) == len(set(ids)) == 3
    assert links == [f"#{anchor}" for anchor in ids]
    assert all(cell["scope"] in ("row", "col") for cell in reader.find("th"))
    assert all(image["alt"] for image in reader.find("img"))
    assert all(image["aria-label"] for image in reader.find("svg"))
    assert len(reader.find("figure")) == len(reader.words("figcaption")) == 2
    assert len(reader.find("caption")) == 1


def test_dark_mode_is_for_screens_and_phones_get_a_viewport():
    page = Page("t").render()
    assert "@media screen and (prefers-color-scheme: dark)" in page and "@media print" in page
    assert 'name="viewport"' in page and page.startswith("<!DOCTYPE html>")
    assert not _Reader(page).find("nav")  # no contents for a page without sections


def test_elements_come_in_the_order_of_the_calls():
    page = Page("t")
    page.paragraph("one\n\ntwo")
    page.section("A section", intro="three")
    page.code("four\n  five")
    page.note("six")
    reader = _Reader(page.render())
    shown = [t for tag, t in reader.texts if tag in ("p", "h2", "code")]
    assert shown == ["one", "two", "A section", "three", "four\n  five", "six"]


def test_table_cells_alignment_and_highlight():
    page = Page("t")
    spark = plot.sparkline([1, 2], title="trend")
    rows = [["a", 0.347, True, None, spark], ["b", 0.2406, False, 12345, "x"]]
    page.table(["name", "share", "ok", "n", "trend"], rows, caption="c", highlight={1})
    reader = _Reader(page.render())
    assert [c.get("class") for c in reader.find("th")[:5]] == [None, "end", None, "end", None]
    assert reader.words("td") == ["0.3470", "yes", "–", "0.2406", "no", "12,345", "x"]
    assert [row.get("class") for row in reader.find("tr")] == [None, None, "highlight"]
    assert len(reader.find("svg")) == 1


def test_table_align_overrides():
    page = Page("t")
    page.table(["a", "b", "c"], [[1, 2, 3]], caption="c", align="lcr")
    classes = [cell.get("class") for cell in _Reader(page.render()).find("td")]
    assert classes == ["middle", "end"]


@pytest.mark.parametrize(
    "rows, options, message",
    [
        ([["a"]], {}, "row 0 has 1 cells for 2 columns"),
        ([["a", 1]], {"align": "l"}, "align='l' for 2 columns"),
        ([["a", 1]], {"align": "lx"}, "align='lx'"),
        ([["a", 1]], {"highlight": [1]}, "highlight names row 1 of 1"),
    ],
)
def test_bad_tables_are_named(rows, options, message):
    with pytest.raises(RecordError, match="table 'cap': " + re.escape(message)):
        Page("t").table(["a", "b"], rows, caption="cap", **options)


def test_an_empty_table_keeps_its_head():
    page = Page("t")
    page.table(["a", "b"], [], caption="none failed")
    reader = _Reader(page.render())
    assert reader.words("th") == ["a", "b"] and not reader.find("td")
    with pytest.raises(RecordError, match="no columns"):
        page.table([], [], caption="c")


def test_pictures_keep_their_bytes_size_and_kind():
    buffer = io.BytesIO()
    Image.new("RGB", (9, 5)).save(buffer, format="JPEG")
    page = Page("t")
    page.figure(PNG, caption="c", alt="a black box")
    page.figure(buffer.getvalue(), caption="c", alt="a black photo")
    png, jpeg = _Reader(page.render()).find("img")
    assert (png["width"], png["height"]) == ("8", "6") and png["src"] == plot.data_uri(PNG)
    assert (jpeg["width"], jpeg["height"]) == ("9", "5")
    assert jpeg["src"].startswith("data:image/jpeg;base64,")


def test_charts_are_inlined_in_both_layouts():
    page = Page("t")
    chart = plot.bar_chart([plot.Bar("a", 1)], title="Bars", x_label="ms")
    page.figure(chart, caption="c", alt="one bar")
    shown = page.render()
    assert chart in shown and chart.narrow in shown
    reader = _Reader(shown)
    boxes = [d.get("class") for d in reader.find("div")]
    assert boxes == ["chart", "wide", "narrow"]
    assert reader.find("div")[0]["aria-label"] == "one bar"


@pytest.mark.parametrize(
    "picture, alt, message",
    [
        (PNG, " ", "no alt text"),
        ("<svg onload='x'/>", "a", "type str"),
        (b"not a picture", "a", "13 bytes are no PNG"),
        (np.zeros((2, 2, 3), np.uint8), "a", "type ndarray"),
    ],
)
def test_bad_pictures_are_named(picture, alt, message):
    with pytest.raises(RecordError, match=message):
        Page("t").figure(picture, caption="c", alt=alt)
    with pytest.raises(RecordError, match=message):
        Page("t").cards([Card(picture=picture, alt=alt, facts={})])


def test_card_verdicts_have_a_word_a_sign_and_a_colour():
    page = Page("t")
    facts = {"question": "Which way?", "answer": "left"}
    page.cards(
        [
            Card(picture=PNG, alt="grid", facts=facts, right=True),
            Card(picture=PNG, alt="grid", facts=facts, right=False, words=("yes", "not so")),
            Card(picture=PNG, alt="grid", facts=facts),
        ]
    )
    reader = _Reader(page.render())
    verdicts = [p["class"] for p in reader.find("p") if "verdict" in p.get("class", "")]
    assert verdicts == ["verdict right", "verdict wrong"]
    assert reader.words("p") == [" right", " not so"] and reader.words("span") == ["✓", "✗"]
    assert len(reader.find("article")) == 3
    assert reader.words("dt") == ["question", "answer"] * 3


def test_save_writes_the_page_or_nothing(tmp_path):
    page = Page("t")
    page.paragraph("naïve \ud800 text")  # a lone surrogate, as broken decoding makes
    page.save(tmp_path / "deep" / "report.html")
    saved = (tmp_path / "deep" / "report.html").read_text("utf-8")
    assert saved == page.render() and "naïve \ufffd text" in saved
    assert len(list((tmp_path / "deep").iterdir())) == 1
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="taken"):
        page.save(tmp_path / "taken")
    assert [p.name for p in tmp_path.glob("taken*")] == ["taken"]  # no temporary file is left
