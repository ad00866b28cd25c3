"""Annotations that mean harm, and the sets that they come with."""

import os
import zipfile
from pathlib import Path

import pytest
from hostile_archives import png

from tessera.data.datasets import voc_form
from tessera.data.datasets.base import ListedObjects
from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.data.datasets.voc_annotations import parse_annotation
from tessera.data.datasets.voc_folder import VocFolder
from tessera.data.reading import MOST_ANNOTATION
from tessera.errors import DataError

BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
ONE = f"<annotation><object><name>{{}}</name>{BOX}</object></annotation>"
LAUGHS = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
ANNOTATIONS = {
    "entities": f'<!DOCTYPE x [<!ENTITY e0 "ha">{LAUGHS}]>' + ONE.format("&e9;"),
    "one entity": '<!DOCTYPE x [<!ENTITY e "cat">]>' + ONE.format("&e;"),
    "a file's content": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + ONE.format("&e;"),
    "a file of declarations": '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + ONE.format("cat"),
    "entities of parameters": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://localhost:1/"> %p;]>' + ONE.format("cat"),
    "attributes by default": '<!DOCTYPE x [<!ATTLIST object a CDATA "b">]>' + ONE.format("cat"),
    "no end": "<annotation>" * 20_000,
    "another root": f"<{'x' * 10_000}/>",
    "NUL": ONE.format("c\0t"),
    "an unknown encoding": '<?xml version="1.0" encoding="x-none"?>' + ONE.format("cat"),
    "an unknown entity": ONE.format("&e;"),
    "nothing": "",
}


@pytest.mark.parametrize("what", ANNOTATIONS)
def test_annotations_that_are_refused(what: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as raised:
        parse_annotation(ANNOTATIONS[what].encode())
    assert len(str(raised.value)) < 300
    assert "root:" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_annotations_that_are_read() -> None:
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>'
    for text in (ONE.format(f"cat{include}"), f"<?x y?>{ONE.format('cat')}<!-- -->"):
        assert [marked.name for marked in parse_annotation(text.encode()).objects] == ["cat"]
    deep = f"<annotation>{'<x>' * 50_000}{'</x>' * 50_000}</annotation>"
    assert parse_annotation(deep.encode()).objects == []


def voc(root: Path) -> Path:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for name in "abc":
        (root / f"Annotations/{name}.xml").write_text(ONE.format("cat"))
        (root / f"JPEGImages/{name}.png").write_bytes(png())
    return root


@pytest.mark.parametrize("damaged", ["refuse", "skip"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_set_with_boxes(damaged: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large, or no file, is refused by name, or passed over with it."""
    tree = voc(tmp_path / "data" / "tree")
    monkeypatch.setattr(voc_form, "MOST_ANNOTATION", 1000)
    (tree / "Annotations/c.xml").write_text(ONE.format("cat") + " " * 1000)
    path, name = tree, f"{tree}/Annotations/c.xml"
    if packed:
        path = tmp_path / "data" / "x.zip"
        name = f"{path}: `Annotations/c.xml`"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(tree.rglob("*.*")):
                archive.write(file, file.relative_to(tree))
    else:
        os.mkfifo(tree / "JPEGImages/d.png")
    reader = VocFolder(VocFolderOptions.model_validate({"path": path.name, "image_size": 32, "damaged": damaged}))
    if damaged == "refuse":
        with pytest.raises(DataError, match=r"d\.png: a pipe\. |c\.xml`: larger than "):
            reader.read(path.parent)
        return
    found = reader.read(path.parent)
    assert isinstance(found, ListedObjects)
    lines = found.images.skipped
    assert any(line.startswith(f"{name}: larger than ") for line in lines), lines
    assert len(found.images) == 2
    assert MOST_ANNOTATION == 2**24
