"""Reads Iceberg tables as DuckDB and pyiceberg see them, one request per line, rows in a canonical text.

Also plays the foreign writer. Requests and answers are JSON; an error is an answer too.
"""

import json
import os
import struct
import sys
import sysconfig
import uuid

import duckdb
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

site = sysconfig.get_paths()["purelib"]
duck = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
for name in ("avro", "httpfs", "iceberg"):
    folder = os.path.join(site, f"duckdb_extension_{name}", "extensions", f"v{duckdb.__version__}")
    duck.execute(f"LOAD '{folder}/{name}.duckdb_extension'")
duck.execute("SET TimeZone='UTC'")


def real(form, value):
    return "nan" if value != value else struct.pack(form, value).hex()


def unscaled(value):
    sign, digits, _ = value.as_tuple()
    return str((-1 if sign else 1) * int("".join(map(str, digits))))


def uuid_hex(value):
    return value.hex() if isinstance(value, bytes) else str(value).replace("-", "")


def nested(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, uuid.UUID):
        value = str(value)
    return [nested(v) for v in value] if isinstance(value, (list, tuple)) else value


def numbers(column, width):
    return column.cast(pa.int64() if width == 64 else pa.int32()).to_pylist()


def cells(kind, column):
    if isinstance(column.type, pa.ExtensionType):
        column = pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    if kind in ("time", "timestamp", "timestamptz"):
        values, show = numbers(column, 64), str
    elif kind == "date":
        values, show = numbers(column, 32), str
    else:
        values = column.to_pylist()
        show = {
            "bool": lambda v: "true" if v else "false",
            "int": str,
            "long": str,
            "float": lambda v: real(">f", v),
            "double": lambda v: real(">d", v),
            "decimal": unscaled,
            "text": lambda v: v.encode().hex(),
            "bytes": lambda v: v.hex(),
            "uuid": uuid_hex,
            "nested": lambda v: json.dumps(nested(v), separators=(",", ":"), ensure_ascii=False),
        }[kind]
    return ["-" if v is None else show(v) for v in values]


def rows(kinds, table):
    columns = [cells(kind, table.column(i)) for i, kind in enumerate(kinds)]
    return sorted("|".join(row) for row in zip(*columns))


def catalog(request):
    return SqlCatalog("driftless", uri=f"sqlite:///{request['catalog']}", warehouse="/nowhere")


def answer(request):
    if request["do"] == "duckdb":
        query = f"SELECT * FROM iceberg_scan('{request['location']}'{request.get('options', '')})"
        return rows(request["kinds"], duck.execute(query).to_arrow_table())
    if request["do"] == "pyiceberg":
        table = catalog(request).load_table((request["namespace"], request["table"]))
        return rows(request["kinds"], table.scan().to_arrow())
    if request["do"] == "entries":
        query = f"SELECT content, status, count(*), sum(record_count) FROM iceberg_metadata('{request['location']}') GROUP BY ALL ORDER BY ALL"
        return [[str(v) for v in row] for row in duck.execute(query).fetchall()]
    if request["do"] == "describe":
        table = catalog(request).load_table((request["namespace"], request["table"]))
        snapshot = table.current_snapshot()
        return {
            "columns": [[f.field_id, f.name, str(f.field_type), f.doc] for f in table.schema().fields],
            "comment": table.properties.get("comment"),
            "location": table.metadata_location,
            "operation": snapshot.summary.operation.value,
            "summary": dict(snapshot.summary.additional_properties),
            "snapshots": [s.snapshot_id for s in table.metadata.snapshots],
            "previous": len(table.metadata.metadata_log),
            "manifests": len(snapshot.manifests(table.io)),
        }
    if request["do"] == "append":
        table = catalog(request).load_table((request["namespace"], request["table"]))
        table.append(table.scan().to_arrow().slice(0, 1))
        return table.metadata_location
    raise ValueError(request["do"])


for line in sys.stdin:
    try:
        reply = {"ok": answer(json.loads(line))}
    except Exception as e:
        reply = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(reply), flush=True)
