"""What DuckDB answers to a query over a few small tables, for tests/oracles.rs.

One JSON request a line on stdin, one JSON answer a line on stdout:

  {"tables": "create or replace table t …; insert …", "query": "select …"}   {"rows": [[["numeric", "1.5"], null]]}
                                                                              or {"refused": "…"}

It is set to answer as Postgres does: NULLs are last in ascending order, a division of integers is an integer.
"""

import datetime
import decimal
import json
import sys
import traceback

import duckdb


def cell(value):
    """The name that Postgres has for the type, and the text."""
    match value:
        case None:
            return None
        case bool():
            return ["bool", str(value).lower()]
        case int():
            return ["numeric", str(value)]
        case decimal.Decimal():
            return ["numeric", format(value, "f")]
        case float():
            return ["float8", repr(value)]
        case datetime.datetime():
            return ["timestamp", value.isoformat()]
        case datetime.date():
            return ["date", value.isoformat()]
        case str():
            return ["text", value]
    raise TypeError(f"no query gives {value!r}")


def answer(con, tables, query):
    con.execute(tables)
    try:
        rows = con.execute(query).fetchall()
    except duckdb.Error as error:
        return {"refused": str(error)}
    return {"rows": [[cell(value) for value in row] for row in rows]}


def main():
    con = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 1})
    con.execute("set default_null_order = 'postgres'; set integer_division = true")
    for line in sys.stdin:
        try:
            reply = answer(con, **json.loads(line))
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
