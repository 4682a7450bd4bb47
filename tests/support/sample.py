"""Writes an Iceberg table by pyiceberg itself, for the test that the readers read: sample.py <directory>."""

import datetime
import decimal
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

home = sys.argv[1]
catalog = SqlCatalog("driftless", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")
catalog.create_namespace("public")
noon = datetime.datetime(2024, 2, 29, 12, 0, 0, 125000)
fields = [
    ("id", pa.int64(), [1, 2, 3]),
    ("small", pa.int32(), [-1, 0, None]),
    ("flag", pa.bool_(), [True, False, None]),
    ("price", pa.decimal128(12, 2), [decimal.Decimal("12.50"), decimal.Decimal("-100.00"), None]),
    ("ratio", pa.float64(), [0.1, 1e16, -0.0]),
    ("single", pa.float32(), [0.1, 1e16, float("nan")]),
    ("name", pa.string(), ["Zoë \"quoted\"\n", "", None]),
    ("day", pa.date32(), [noon.date(), datetime.date(1, 1, 1), None]),
    ("at", pa.timestamp("us", "UTC"), [noon.replace(tzinfo=datetime.timezone.utc), noon.replace(microsecond=0), None]),
    ("local", pa.timestamp("us"), [noon, datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), None]),
    ("raw", pa.binary(), [b"\x00\xff", b"", None]),
]
data = pa.table({name: pa.array(values, kind) for name, kind, values in fields})
table = catalog.create_table("public.sample", schema=data.schema)
table.append(data)
table.append(data.slice(1, 1))
table.append(data.set_column(0, "id", pa.array([7, 8, 9], pa.int64())), snapshot_properties={"moment": "42"})
table.delete("id >= 8", snapshot_properties={"moment": "43"})
