"""The file: a plain ``.keras``, its members compressed.

Keras writes ``.keras`` archives without compression, and reads them with any that Python's
``zipfile`` knows. The weights are packed by LZMA, told what it cannot guess: that numbers have four
bytes, each place with its own likely values, and that nothing comes again but zeros. Measured on
the large kernel of the MNIST CNN, 3136 x 1024 (12.8 MB; bytes; seconds of one core to write):

====================  =========  =========  =======  =========  ========
packed by             0.8        0.9        0.95     2 of 4     seconds
====================  =========  =========  =======  =========  ========
deflate               3,026,207  1,628,260  867,619  6,893,609  0.5 to 4
bzip2                 2,578,163  1,333,804  686,217  6,443,410  0.1 to 1
LZMA as it comes                 1,437,608                      5
LZMA with ``_LZMA``   2,435,297  1,200,472  619,914  5,934,030  1.3 to 2
====================  =========  =========  =======  =========  ========
"""

from __future__ import annotations

import json
import lzma
import os
import secrets
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

import keras

from pruning_core.copying import plain_copy
from pruning_core.errors import PruningConfigError

#: Time stamp of every member, so that equal models give equal bytes: the first that zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)

#: Bytes by their place in a number of four, and no memory of what came before; of what repeats,
#: the nearest place alone, within 4 kB.
_LZMA = {
    "id": lzma.FILTER_LZMA1,
    "lc": 0,
    "lp": 2,
    "pb": 2,
    "dict_size": 4096,
    "mode": lzma.MODE_NORMAL,
    "mf": lzma.MF_HC3,
    "depth": 1,
    "nice_len": 273,
}
#: What zip has before LZMA (APPNOTE 6.3.9, section 5.8.8): version 9.4, and as five bytes ``lc``,
#: ``lp``, ``pb`` and the dictionary.
_LZMA_PROPERTIES = struct.pack("<BBHBI", 9, 4, 5, (2 * 5 + 2) * 9, 4096)
_ENDS_BY_MARKER = 0x02  #: Flag of the header.
_CHUNK_BYTES = 1 << 20


def save(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write ``model`` as a ``.keras`` file that plain Keras loads, compressed inside.

    What only training needs is left out: loss, metrics, the optimizer and its state. Equal models
    give equal bytes. The file appears whole or not at all.

    Args:
        model: Any built Keras model.
        path: Where to; ends in ``.keras``. An existing file is replaced.

    Raises:
        PruningConfigError: ``path`` does not end in ``.keras``.
    """
    target = Path(path)
    if target.suffix != ".keras":
        message = f"path must end in .keras, or Keras will not load it. Received: {target}"
        raise PruningConfigError(message, field="path")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "model")
        keras.saving.save_model(plain_copy(model), source, zipped=False)
        _forget_date(source / "metadata.json")
        _replace_with_archive(source, target)


def _forget_date(metadata_path: Path) -> None:
    metadata = json.loads(metadata_path.read_bytes())
    year, month, day, hour, minute, second = _EPOCH
    date = f"{year}-{month:02}-{day:02}@{hour:02}:{minute:02}:{second:02}"
    metadata_path.write_text(json.dumps(metadata | {"date_saved": date}))


def _replace_with_archive(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        # Not from tempfile: what it makes nobody else may read, as the finished file should be.
        with temporary.open("xb") as file:
            _write_archive(source, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_archive(source: Path, file: IO[bytes]) -> None:
    members = sorted(path for path in source.rglob("*") if path.is_file())
    with zipfile.ZipFile(file, "w") as archive:
        for member in members:
            info = zipfile.ZipInfo(member.relative_to(source).as_posix(), date_time=_EPOCH)
            if member.suffix == ".h5":
                _add_packed(archive, info, member, file)
            else:
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, member.read_bytes())


def _add_packed(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: Path, file: IO[bytes]
) -> None:
    """Add a file of weights, packed by LZMA with ``_LZMA``.

    ``zipfile`` itself writes LZMA with its usual settings only. So it is given what was packed
    here, to be stored as it is, and then the member's header says what it is.
    """
    is_large = member.stat().st_size > zipfile.ZIP64_LIMIT // 2
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[_LZMA])
    checksum = size = 0
    with member.open("rb") as content, archive.open(info, "w", force_zip64=is_large) as entry:
        entry.write(_LZMA_PROPERTIES)
        while chunk := content.read(_CHUNK_BYTES):
            checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
            entry.write(packer.compress(chunk))
        entry.write(packer.flush())
    info.compress_type = zipfile.ZIP_LZMA
    info.flag_bits |= _ENDS_BY_MARKER
    info.CRC, info.file_size = checksum, size
    end = file.tell()
    file.seek(info.header_offset)
    file.write(info.FileHeader(zip64=is_large))
    file.seek(end)
