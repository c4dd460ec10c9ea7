"""Files that are no model at all, or whose archive lies about itself."""

from __future__ import annotations

import gzip
import io
import pickle
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping

from bench.hostile.case import Case
from bench.hostile.edits import CONFIG, WEIGHTS, members, packed
from bench.hostile.originals import Originals
from bench.hostile.planted import Planted

_MEBIBYTE = 2**20
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
#: Places of fields in the two headers that a zip archive has for each member.
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_FLAGS, _METHOD, _CRC, _SIZE, _NAME_LENGTH = 6, 8, 14, 22, 26


def cases(originals: Originals, planted: Planted) -> Iterator[Case]:
    """Yield those that are models by their ending alone."""
    contents = {
        **_no_models(planted),
        **_cut(originals),
        **_archives(originals),
        **_misnamed(originals, planted),
        **_lying(originals),
        **_bombs(originals),
    }
    for name, content in contents.items():
        yield Case(name=f"container: {name}", model=content)


def _no_models(planted: Planted) -> dict[str, bytes]:
    return {
        "nothing": b"",
        "two bytes of a zip": b"PK",
        "five bytes of HDF5": b"\x89HDF\r",
        "text": b"once upon a time",
        "a web page": b"<!doctype html><script>alert(1)</script>",
        "a picture": _PNG,
        "a program": b"\x7fELF" + bytes(200),
        "a pickle": pickle.dumps(planted.pickled("pickle")),
        "a LiteRT model": b"\x1c\0\0\0TFL3" + bytes(200),
        "gzip": gzip.compress(b"a" * 1000),
        "tar": _tar(),
        "zeros": bytes(_MEBIBYTE),
        "HDF5 without content": b"\x89HDF\r\n\x1a\n" + bytes(999),
        "a SavedModel": packed({"m/saved_model.pb": b"", "m/variables/variables.index": b""}),
        "an empty archive": packed({}),
        "a dataset": packed({"x_train.npy": b"\x93NUMPY", "y_train.npy": b"\x93NUMPY"}),
    }


def _tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))
    return target.getvalue()


def _cut(originals: Originals) -> dict[str, bytes]:
    return {
        f"{form} cut at {share:.0%}": whole[: int(share * len(whole))]
        for form, whole in (("keras", originals.keras), ("h5", originals.h5))
        for share in (0.1, 0.5, 0.9, 0.999)
    }


def _archives(originals: Originals) -> dict[str, bytes]:
    whole = members(originals.keras)
    without = {
        f"without {name}": packed({key: each for key, each in whole.items() if key != name})
        for name in whole
    }
    return {
        **without,
        "a picture in front": _PNG + originals.keras,
        "a program beside": packed({**whole, "run.py": b"import os"}),
        "a folder": packed({"model/" + name: content for name, content in whole.items()}),
        "an archive inside": packed({CONFIG: originals.keras, WEIGHTS: originals.keras}),
        "20,000 members": packed({**whole, **{f"assets/{n}": b"" for n in range(20_000)}}),
        "two of one name": _twice(whole, CONFIG),
        "two weights files": _twice(whole, WEIGHTS),
    }


def _twice(whole: Mapping[str, bytes], name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key, content in [*whole.items(), (name, whole[name])]:
            archive.writestr(key, content)
    return target.getvalue()


def _misnamed(originals: Originals, planted: Planted) -> dict[str, bytes]:
    whole = members(originals.keras)
    strange = {
        "a way out": "assets/../../../escaped",
        "an absolute path": planted.marker("absolute"),
        "a Windows path": "C:\\escaped",
        "a drive": "C:/escaped",
        "an empty folder's name": "assets//escaped",
        "a control character": "assets/\x1b[2J",
    }
    return {
        **{name: packed({**whole, path: b"escaped"}) for name, path in strange.items()},
        "a link to the secret": _with_link("assets/secret", planted, whole),
        "a configuration that is a link": _with_link(CONFIG, planted, whole),
        "weights that are a link": _with_link(WEIGHTS, planted, whole),
    }


def _with_link(name: str, planted: Planted, whole: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for key, content in whole.items():
            if key != name:
                archive.writestr(key, content)
        link = zipfile.ZipInfo(name)
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(planted.secret_file))
    return target.getvalue()


def _lying(originals: Originals) -> dict[str, bytes]:
    """Return archives whose headers say what is not so; the first member is meant."""
    whole = originals.keras
    return {
        "encrypted": _patched(_patched(whole, _LOCAL, _FLAGS, 1), _CENTRAL, _FLAGS + 2, 1),
        "packed by nobody knows what": _patched(
            _patched(whole, _LOCAL, _METHOD, 77), _CENTRAL, _METHOD + 2, 77
        ),
        "a wrong checksum": _patched(whole, _CENTRAL, _CRC + 2, 0xBAD, "<I"),
        "a size of 4 GB": _patched(whole, _CENTRAL, _SIZE + 2, 0xFFFFFFFE, "<I"),
        "a name that is longer here than there": _patched(whole, _LOCAL, _NAME_LENGTH, 200),
        "two names": whole.replace(b"metadata.json", b"metadata.jsom", 1),
        "members that overlap": _patched(whole, _CENTRAL, 42, 20, "<I", last=True),
    }


def _patched(  # noqa: PLR0913  (what to write where)
    content: bytes, header: bytes, offset: int, value: int, kind: str = "<H", *, last: bool = False
) -> bytes:
    start = content.rindex(header) if last else content.index(header)
    changed = bytearray(content)
    struct.pack_into(kind, changed, start + offset, value)
    return bytes(changed)


def _bombs(originals: Originals) -> dict[str, bytes]:
    whole = members(originals.keras)
    deflated = zipfile.ZIP_DEFLATED
    spaces = b" " * (100 * _MEBIBYTE)
    return {
        "a configuration of 100 MB": packed({**whole, CONFIG: whole[CONFIG] + spaces}, deflated),
        "metadata of 100 MB": packed({**whole, "metadata.json": b"{}" + spaces}, deflated),
        "zeros of 100 MB for weights": packed(
            {**whole, WEIGHTS: bytes(100 * _MEBIBYTE)}, zipfile.ZIP_BZIP2
        ),
        "a dictionary of 4 GB": _with_huge_dictionary(whole),
    }


def _with_huge_dictionary(whole: Mapping[str, bytes]) -> bytes:
    """Return an archive whose unpacking asks for 4 GB, whatever comes out of it."""
    archive = packed(whole, zipfile.ZIP_LZMA)
    changed = bytearray(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        for member in file.infolist():
            # Behind the header and the name: version, length of the properties, and they: one
            # byte, then the size of the dictionary.
            start = member.header_offset + 30 + len(member.filename) + 2 + 2 + 1
            struct.pack_into("<I", changed, start, 0xFFFFFFF0)
    return bytes(changed)
