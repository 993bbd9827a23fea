"""What a data-set is called: a hash of what it holds, which a rebuild reproduces, however its rows lie in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SHA256 = "streamhouse.sha256"
SNAPSHOTS = "streamhouse.snapshots"
HASHED = "numbers, texts, bytes, times or lists of them"
"""What `has_a_hash` says yes to, in words."""

_AS_INTEGER: dict[Callable[[pa.DataType], bool], pa.DataType] = {
    pa.types.is_timestamp: pa.int64(),
    pa.types.is_time64: pa.int64(),
    pa.types.is_duration: pa.int64(),
    pa.types.is_date64: pa.int64(),
    pa.types.is_date32: pa.int32(),
    pa.types.is_time32: pa.int32(),
    pa.types.is_boolean: pa.uint8(),
}
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_ROWS = 1 << 16  # hashed at a time; the hash does not depend on how the table is chunked


def dataset_hash(table: pa.Table) -> str:
    """The sha256 of columns (names, types, values, in their order), in hexadecimal; metadata and chunks change nothing.

    Strings and lists hash as they do in Arrow's `large_` form, dictionaries as their values.

    Raises:
        TypeError: a column of a type that no feature has, such as a map; `has_a_hash` tells before.

    """
    whole = hashlib.sha256(b"streamhouse 1 %d" % len(table))
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = plain_type(column.type)
        part = hashlib.sha256(f"{name}\0{plain}\0".encode())
        for start in range(0, len(column), _ROWS):
            rows = column.slice(start, _ROWS)
            rows = rows.cast(plain) if rows.type != plain else rows
            for array in [rows.combine_chunks()] if isinstance(rows, pa.ChunkedArray) else [rows]:
                for content in _contents(array):
                    part.update(content)
        whole.update(part.digest())
    return whole.hexdigest()


def stamped(table: pa.Table, snapshots: Mapping[str, int | None]) -> pa.Table:
    """The table with its hash and the snapshots that it was made of in its schema's metadata, as `told` reads them."""
    said = {SHA256: dataset_hash(table), SNAPSHOTS: json.dumps(dict(snapshots), sort_keys=True)}
    return table.replace_schema_metadata(said)


def plain_type(of: pa.DataType) -> pa.DataType:
    """The one Arrow type among those that hold the same values."""
    if pa.types.is_dictionary(of):
        return plain_type(of.value_type)
    if pa.types.is_large_string(of):
        return pa.string()
    if pa.types.is_large_binary(of):
        return pa.binary()
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return pa.list_(plain_type(of.value_type))
    return of


def has_a_hash(of: pa.DataType) -> bool:
    """Whether `dataset_hash` takes columns of this type."""
    plain = plain_type(of)
    if pa.types.is_list(plain):
        return has_a_hash(plain.value_type)
    return any(holds(plain) for holds in (pa.types.is_null, pa.types.is_string, pa.types.is_binary, *_AS_INTEGER, *_NUMBERS))


def _contents(array: pa.Array) -> Iterator[bytes]:
    """The bytes of at most _ROWS values: which are null, then the others, with nothing that lies unseen in Arrow's buffers."""
    if pa.types.is_null(array.type):
        yield b"null %d" % len(array)
        return
    valid = np.asarray(pc.is_valid(array))
    yield np.packbits(valid).tobytes()
    held = array.drop_null()
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        yield _lengths(pc.binary_length(held))
        yield b"".join(held.cast(pa.binary()).to_pylist())
    elif pa.types.is_list(array.type):
        yield _lengths(pc.list_value_length(held))
        yield from _contents(held.flatten())
    else:
        yield _fixed(held)


def _lengths(of: pa.Array) -> bytes:
    lengths: bytes = of.cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes()
    return lengths


def _fixed(held: pa.Array) -> bytes:
    """The bytes of values of one width, none of them null."""
    of = held.type
    for holds, integer in _AS_INTEGER.items():
        if holds(of):
            return held.cast(integer).to_numpy(zero_copy_only=False).tobytes()  # type: ignore[no-any-return]
    if pa.types.is_integer(of) or pa.types.is_floating(of):
        return held.to_numpy(zero_copy_only=False).tobytes()  # type: ignore[no-any-return]
    if pa.types.is_decimal(of):
        return "\0".join(map(str, held.to_pylist())).encode()
    message = f"a data-set column of type {of}: expected {HASHED}; leave it out or cast it"
    raise TypeError(message)
