"""Declarations -> Iceberg's own values: schema, partition spec, sort order. Field ids are given by the catalog."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import IdentityTransform, parse_transform
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, PrimitiveType, StringType

from lakehouse.tables import Table

_LIST = re.compile(r"list<(\w+)>\Z")
_MAP = re.compile(r"map<string,(\w+)>\Z")


def iceberg_type(text: str, next_id: Callable[[], int]) -> IcebergType:
    """The type that a declaration's text names; nested parts take ids from `next_id`."""
    if match := _LIST.match(text):
        return ListType(element_id=next_id(), element_type=_primitive(match[1]), element_required=False)
    if match := _MAP.match(text):
        return MapType(next_id(), StringType(), next_id(), _primitive(match[1]), value_required=False)
    return _primitive(text)


def iceberg_schema(table: Table) -> Schema:
    """Columns with their comments; ids 1.. for the columns, nested ids behind them."""
    nested = count(len(table.columns) + 1)
    return Schema(
        *(
            NestedField(i, column.name, iceberg_type(column.type, lambda: next(nested)), doc=column.comment)
            for i, column in enumerate(table.columns, start=1)
        )
    )


def partition_spec(table: Table, schema: Schema) -> PartitionSpec:
    """Hidden partitioning: `event_time` by day becomes partition field `event_time_day`."""
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(column).field_id,
                field_id=1000 + i,
                transform=parse_transform(transform),
                name=column if transform == "identity" else f"{column}_{transform}",
            )
            for i, (column, transform) in enumerate(table.partition)
        )
    )


def sort_order(table: Table, schema: Schema) -> SortOrder:
    """The declared order; a hint for rewriting, no promise of any file."""
    return SortOrder(*(SortField(schema.find_field(column).field_id, IdentityTransform()) for column in table.sort))


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema that `append` takes and `read` gives."""
    return schema_to_pyarrow(iceberg_schema(table), include_field_ids=False)


def _primitive(text: str) -> PrimitiveType:
    # Iceberg's own reader of type names lives in its field model
    answer = NestedField.model_validate({"id": 1, "name": "x", "type": text, "required": False}).field_type
    assert isinstance(answer, PrimitiveType)
    return answer
