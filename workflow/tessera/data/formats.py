"""The forms in which images are read, and those that are met under their names. Never imports torch."""

# Every `Image.open` names these: Pillow would else try all that it knows, and hand an EPS file, whatever it is called,
# to Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
READ = "JPEG, PNG, BMP, GIF, WebP, TIFF or PPM"

# By their first bytes.
_OTHERS = {
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"SIMPLE  =": "FITS",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x01\x00": "ICO",
    b"icns": "ICNS",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"\x01\xda": "SGI",
    b"\x89HDF": "HDF5",
    b"GRIB": "GRIB",
    b"II\xbc\x01": "JPEG XR",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"version https://git-lfs": "a pointer of Git LFS, not yet pulled",
}
_TEXTS = {"<svg": "SVG", "<!doctype html": "a page of HTML", "<html": "a page of HTML", "<?xml": "XML"}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}


def other_form(data: bytes) -> str | None:
    """What a file seems to be that is none of `FORMATS`, by its first bytes; None where they say nothing."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a film")
    if data[40:44] == b" EMF":
        return "EMF"
    for signature, form in _OTHERS.items():
        if data.startswith(signature):
            return form
    text = data[:200].decode("latin-1").lstrip("\xef\xbb\xbf \t\r\n").lower()
    return next((form for start, form in _TEXTS.items() if text.startswith(start)), None)
