"""Annotations in VOC form: what is read, what is refused, and what becomes of a box."""

from typing import Any

import pytest

from tessera.data.datasets.voc_annotations import Marker, PassedOver, parse_annotation
from tessera.errors import DataError

BOMB = '<!DOCTYPE a [<!ENTITY x "xxxx"><!ENTITY y "&x;&x;&x;&x;">]>'


def place(text: str, classes: list[str] | None = None, size: Any = (30, 40), damaged: Any = "skip") -> tuple[Any, Any]:
    passed_over = PassedOver(damaged)
    marker = Marker(classes, passed_over)
    marker.add(parse_annotation(text.encode()), "a.xml", size)
    objects, _ = marker.finish("set")
    return objects.of(0), passed_over.lines


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ((1, 1, 40, 30), [0, 0, 40, 30]),  # the whole image
        ((1, 1, 1, 1), [0, 0, 1, 1]),  # its first pixel
        ((40, 30, 40, 30), [39, 29, 40, 30]),  # its last
        ((5, 6, 17, 18), [4, 5, 17, 18]),
        (("5.5", " 6.25 ", "1.7e1", "18.0"), [4.5, 5.25, 17, 18]),
        ((0, -3, 41, 300), [0, 0, 40, 30]),  # clipped
        ((38, 2, 60, 8), [37, 1, 40, 8]),
    ],
)
def test_corners(voc: Any, corners: Any, box: list[float]) -> None:
    objects, skipped = place(voc.annotation(voc.marked("cat", corners)))
    assert objects.boxes.tolist() == [box]
    assert not skipped


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (("cat", (9, 9, 8, 12)), "object 2 (`cat`) has no area (xmin 9, ymin 9, xmax 8, ymax 12; 40 x 30 px)"),
        (("cat", (9, 9, 8.0, 8)), "object 2 (`cat`) has no area"),
        (("cat", (20, 9, 3, 12)), "object 2 (`cat`) has no area"),
        (("cat", (41, 9, 50, 12)), "object 2 (`cat`) lies outside of its image (xmin 41, ymin 9, xmax 50"),
        (("cat", (-8, 9, 0, 12)), "object 2 (`cat`) lies outside of its image"),
        (("cat", ("x", 9, 50, 12)), "object 2 (`cat`) has a xmin of `x`, which is no number"),
        (("cat", (1, 9, "inf", 12)), "object 2 (`cat`) has a xmax of `inf`, which is no number"),
        (("cat", (1, "nan", 5, 12)), "object 2 (`cat`) has a ymin of `nan`, which is no number"),
        (("cat", (1, 9, 5, "")), "object 2 (`cat`) has no <ymax>"),
        (("cat", (1, 9, 5, 12), "perhaps"), "object 2 (`cat`) has <difficult> `perhaps`, which is neither 0 nor 1"),
        (("", (1, 9, 5, 12)), "object 2 has no <name>"),
        ("<object><name>cat</name></object>", "object 2 (`cat`) has no <bndbox>"),
        (("cta", (1, 9, 5, 12)), "object 2 (`cta`) is of no known class. Correct or remove it, or change `classes`. "
         "Did you mean 'cat'?"),
    ],
)  # fmt: skip
def test_an_object_that_cannot_be_used(voc: Any, found: Any, message: str) -> None:
    found = found if isinstance(found, str) else voc.marked(*found)
    text = voc.annotation(voc.marked("cat", (1, 2, 3, 4)), found, voc.marked("dog", (5, 6, 7, 8), 1))
    objects, skipped = place(text, ["cat", "dog"])
    assert objects.boxes.tolist() == [[0, 1, 3, 4], [4, 5, 7, 8]]
    assert objects.labels.tolist() == [0, 1]
    assert objects.difficult.tolist() == [False, True]
    assert len(skipped) == 1
    assert skipped[0].startswith(f"a.xml: {message}")
    assert "orrect" in skipped[0]
    with pytest.raises(DataError) as raised:
        place(text, ["cat", "dog"], damaged="refuse")
    assert str(raised.value).startswith(f"a.xml: {message}")
    assert "\n" not in str(raised.value)
    assert "`damaged: skip`" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not parse as XML"),
        ("<annotation><object></annotation>", "does not parse as XML (mismatched tag: line 1, column 22)"),
        ("<annotation>&x;</annotation>", "does not parse as XML (undefined entity"),
        ("<html></html>", "is a document of <html>, not of <annotation>"),
        (f"{BOMB}<annotation>&y;</annotation>", "has a DOCTYPE, which is never read"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "has a DOCTYPE, which is never read"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "does not parse as XML"),
    ],
)
def test_what_is_no_annotation(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as raised:
        parse_annotation(text.encode())
    assert f"it {reason}" in str(raised.value)


def test_what_lies_within_an_object_is_not_the_object(voc: Any) -> None:
    """VOC 2012 marks heads and hands, and its tags come in any order."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    box = "<bndbox><ymax>20</ymax><xmax>10</xmax><ymin>4</ymin><xmin>3</xmin></bndbox>"
    text = voc.annotation(f"<object>{part}{box}<name> person\n</name></object>")
    found = parse_annotation(text.encode())
    assert [(one.name, one.corners, one.difficult) for one in found.objects] == [("person", (3, 4, 10, 20), False)]


def test_other_encodings(voc: Any) -> None:
    text = '<?xml version="1.0" encoding="{}"?>' + voc.annotation(voc.marked("Käfer", (1, 2, 3, 4)))
    for encoding in ("latin-1", "utf-8", "utf-16"):
        assert parse_annotation(text.format(encoding).encode(encoding)).objects[0].name == "Käfer"


def test_a_size_that_disagrees(voc: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The image is believed: 40 x 30 px."""
    objects, skipped = place(voc.annotation(voc.marked("cat", (1, 1, 60, 60)), size=(60, 60)))
    assert objects.boxes.tolist() == [[0, 0, 40, 30]]
    assert not skipped
    assert "1 times; the image is believed. The first: a.xml says 60 x 60 px, its image has 40 x 30 px." in caplog.text
    caplog.clear()
    place(voc.annotation(size=(0, 0)))  # not known
    place(voc.annotation(size=(40, 30)))
    assert not caplog.text


def test_of_an_image_that_cannot_be_decoded_no_object_is_looked_at(voc: Any) -> None:
    objects, skipped = place(voc.annotation(voc.marked("cat", (9, 9, 8, 12))), size=None, damaged="refuse")
    assert len(objects) == 0
    assert not skipped
