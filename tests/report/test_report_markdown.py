from __future__ import annotations

import inspect

import numpy as np
import pytest

from sg4v_jax.errors import RecordError
from sg4v_jax.report.html import Card, Page
from sg4v_jax.report.markdown import MarkdownPage, open_page
from sg4v_jax.report.plot import Bar, bar_chart, png_bytes

PICTURE = png_bytes(np.zeros((4, 6, 3), np.uint8))


def test_it_has_the_methods_of_the_html_page():
    for name, method in inspect.getmembers(Page, inspect.isfunction):
        if name.startswith("_") or name == "render":
            continue
        own = inspect.signature(getattr(MarkdownPage, name))
        assert list(own.parameters) == list(inspect.signature(method).parameters), name


def test_a_page_as_text():
    page = MarkdownPage("A *b*", subtitle="under")
    page.section("Part", intro="one\ntwo\n\nthree")
    page.table(["name", "n"], [["x|y", 1], ["z", None]], caption="Both", highlight=[0])
    page.facts({"k": True})
    page.note("Mind <this>.")
    page.code("a ``` b")
    assert (
        page.render()
        == r"""# A \*b\*

under

## Part

one two

three

*Both*

| name | n |
| :-- | --: |
| **x\|y** | **1** |
| z | – |

|  |  |
| :-- | :-- |
| k | yes |

> Mind \<this\>.

````
a ``` b
````"""
        + "\n"
    )


def test_pictures_lie_beside_the_text(tmp_path):
    page = open_page(tmp_path / "r.md", "R")
    assert isinstance(page, MarkdownPage)
    page.figure(bar_chart([Bar("a", 1)], title="T", x_label="x"), caption="c", alt="bars")
    page.cards([Card(picture=PICTURE, alt="grid", facts={"q": "why?"}, right=False)])
    page.save(tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert "![bars](r_files/01.svg)" in text and "![grid](r_files/02.png)" in text
    assert "- **✗ wrong**" in text
    assert (tmp_path / "r_files/01.svg").read_text().startswith("<svg")
    assert (tmp_path / "r_files/02.png").read_bytes() == PICTURE


def test_errors_are_those_of_the_page():
    page = MarkdownPage("R")
    with pytest.raises(RecordError, match="row 0 has 1 cells for 2 columns"):
        page.table(["a", "b"], [["x"]], caption="c")
    with pytest.raises(RecordError, match="no alt text"):
        page.figure(PICTURE, caption="c", alt=" ")
    with pytest.raises(RecordError, match="no PNG"):
        page.figure(b"x", caption="c", alt="a")
    assert isinstance(open_page("x.html", "R"), Page)
