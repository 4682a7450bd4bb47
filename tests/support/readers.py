"""Reads Iceberg tables by DuckDB and by pyiceberg, for readers.rs.

One JSON request a line on stdin, one JSON answer a line on stdout. The process lives as long as its
test, since starting Python and loading both libraries takes longer than a hundred reads.

  {"do": "tables", "catalog": "/…/catalog.db"}                       name -> location of its metadata
  {"do": "read", "reader": "duckdb" | "pyiceberg", "metadata": "…"}  that version of a table
  {"do": "load", "catalog": "/…/catalog.db", "table": "public.t"}    through pyiceberg's own catalog

Both readers hand over Arrow, and one function writes rows as text, in the form that compare.rs describes.
"""

import decimal
import importlib.util
import json
import pathlib
import sqlite3
import sys
import traceback

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable

CATALOG = "driftless"


def connect():
    # Extensions come from the wheels: a test must not fetch code while it runs.
    con = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    for name in ("avro", "httpfs", "iceberg"):
        home = pathlib.Path(importlib.util.find_spec(f"duckdb_extension_{name}").origin).parent
        con.load_extension(str(next(home.rglob(f"{name}.duckdb_extension"))))
    con.execute("set timezone = 'UTC'")
    return con


def number(value):
    """Without trailing zeros and without an exponent: 12.50 and 12.5 are one number."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def real(value):
    """Shortest digits with an exponent, as Rust's {:e} has them."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": '"NaN"', "inf": '"inf"', "-inf": '"-inf"'}[repr(value)]
    if value == 0:
        return "0e0"
    sign, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, digits))
    point = "." + digits[1:] if len(digits) > 1 else ""
    return f"{'-' if sign else ''}{digits[0]}{point}e{exponent + len(digits) - 1}"


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def writer(kind):
    """How to prepare a column of this type, and how to write one of its values."""
    if pa.types.is_boolean(kind):
        return None, lambda v: "true" if v else "false"
    if pa.types.is_integer(kind):
        return None, str
    if pa.types.is_decimal(kind):
        return None, number
    if pa.types.is_float64(kind):
        return None, real
    if pa.types.is_floating(kind):
        # A 32-bit float has shortest digits of its own, which Arrow knows and Python does not.
        return lambda c: c.cast(pa.string()), lambda v: real(float(v))
    if pa.types.is_timestamp(kind):
        zone = "Z" if kind.tz else ""
        # As text from Arrow, not as datetime: Python's knows no year beyond 9999.
        return (
            lambda c: pc.strftime(c.cast(pa.timestamp("us", "UTC")), "%Y-%m-%dT%H:%M:%S"),
            lambda v: quoted(v + zone),
        )
    if pa.types.is_date(kind):
        return None, lambda v: quoted(v.isoformat())
    if pa.types.is_time(kind):
        return None, lambda v: quoted(v.isoformat(timespec="microseconds"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return None, lambda v: quoted(v.hex())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _, item = writer(kind.value_type)
        return None, lambda v: "[" + ",".join("null" if i is None else item(i) for i in v) + "]"
    return None, lambda v: quoted(str(v))


def rows(table):
    columns = []
    for name, column in zip(table.column_names, table.columns):
        prepare, write = writer(column.type)
        values = (prepare(column) if prepare else column).to_pylist()
        key = quoted(name) + ":"
        columns.append([key + ("null" if v is None else write(v)) for v in values])
    return ["{" + ",".join(row) + "}" for row in zip(*columns)]


def described(table):
    """What the metadata says beside the rows."""
    snapshot = table.current_snapshot()
    summary = {}
    if snapshot and snapshot.summary:
        summary = {"operation": snapshot.summary.operation.value, **snapshot.summary.additional_properties}
    return {
        "metadata": table.metadata_location,
        "snapshot": snapshot.snapshot_id if snapshot else None,
        "summary": summary,
        "columns": [[field.name, str(field.field_type)] for field in table.schema().fields],
    }


class Readers:
    def __init__(self):
        self.con = connect()
        self.catalogs = {}

    def tables(self, catalog):
        with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as db:
            found = db.execute(
                "select table_namespace || '.' || table_name, metadata_location from iceberg_tables"
                " where catalog_name = ? and (iceberg_type is null or iceberg_type = 'TABLE')",
                [CATALOG],
            )
            return {"tables": dict(found)}

    def read(self, reader, metadata):
        table = StaticTable.from_metadata(metadata)
        if reader == "pyiceberg":
            arrow = table.scan().to_arrow()
        else:
            arrow = self.con.execute("select * from iceberg_scan(?)", [metadata]).to_arrow_table()
        return {**described(table), "rows": rows(arrow)}

    def load(self, catalog, table):
        if catalog not in self.catalogs:
            self.catalogs[catalog] = SqlCatalog(CATALOG, uri=f"sqlite:///{catalog}", init_catalog_tables="false")
        table = self.catalogs[catalog].load_table(table)
        return {**described(table), "rows": rows(table.scan().to_arrow())}


def main():
    readers = Readers()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(readers, request.pop("do"))(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
