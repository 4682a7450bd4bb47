"""DuckDB's full recompute of a query of the workload: what a change costs without incremental maintenance.

The rows come from `peers rows` as CSV, one thread computes the query again and again, in memory. A batch of
so many changes costs one recompute, whatever its size; applying the batch to the tables is not counted.
Measurements are JSON lines on stdout like those of `peers`, and a table on stderr.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import duckdb


# workload.rs' SplitMix64 and `hash`, in 128 bits since DuckDB's 64 do not wrap.
MASK = "18446744073709551615::uhugeint"
MACROS = f"""
create macro added(x) as (x + 11400714819323198485::uhugeint) & {MASK};
create macro turned(z, bits, factor) as (xor(z, z >> bits) * factor) & {MASK};
create macro mixed(z) as turned(turned(z, 30, 13787848793156543929::uhugeint), 27, 10723151780598845931::uhugeint);
create macro mix(x) as xor(mixed(added(x)), mixed(added(x)) >> 31);
create macro word(v) as (v::hugeint + 18446744073709551616::hugeint)::uhugeint & {MASK};
"""


def checksum(connection, columns):
    # A lambda, since a macro's argument is copied to each place that names it.
    words = ", ".join(f"word({column})" for column in columns)
    h = f"list_reduce([0::uhugeint, {words}], lambda h, v: mix(xor(h, v)))"
    total, rows = connection.execute(f"select sum(({h})::hugeint), count(*) from answer").fetchone()
    return (total or 0) % 2**64, rows


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("query")
    parser.add_argument("--peers", default="peers", help="the peers binary, which makes the rows")
    parser.add_argument("--rows", default="10000000")
    parser.add_argument("--batch", default="1,100,10000")
    parser.add_argument("--batches", help="as of `peers`: the rows are those after so many batches of each size")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to repeat the recompute")
    given = parser.parse_args()

    rss_before = rss_bytes()
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set integer_division = true")
    connection.execute("set preserve_insertion_order = false")
    with tempfile.TemporaryDirectory() as folder:
        command = [given.peers, "rows", given.query, folder, "--rows", given.rows, "--seed", given.seed]
        command += ["--batch", given.batch] + (["--batches", given.batches] if given.batches else [])
        subprocess.run(command, check=True)
        tables = [name.removesuffix(".csv") for name in os.listdir(folder) if name.endswith(".csv")]
        with open(f"{folder}/create.sql") as create, open(f"{folder}/query.sql") as query:
            connection.execute(create.read())
            sql = query.read()
        for table in tables:
            connection.execute(f"insert into {table} select * from read_csv('{folder}/{table}.csv', header = false)")
    rows = sum(connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)
    rss = rss_bytes()

    walls, cpus = [], []
    while sum(walls) < given.seconds or len(walls) < 3:
        wall, cpu = time.perf_counter(), cpu_s()
        connection.execute(f"create or replace temp table answer as {sql}")
        cpus.append(cpu_s() - cpu)
        walls.append(time.perf_counter() - wall)
    columns = [column[0] for column in connection.execute("describe answer").fetchall()]
    connection.execute(MACROS)
    total, answer_rows = checksum(connection, columns)
    wall_s, cpu = statistics.median(walls), statistics.median(cpus)
    for size in map(int, given.batch.split(",")):
        line = {
            "peer": "duckdb",
            "query": given.query,
            "phase": "recompute",
            "batch": size,
            "batches": len(walls),
            "changes": size * len(walls),
            "wall_s": round(sum(walls), 6),
            "cpu_s": round(sum(cpus), 6),
            "changes_per_s": round(size / wall_s, 1),
            "changes_per_cpu_s": round(size / cpu, 1),
            "p50_us": round(wall_s * 1e6, 1),
            "p99_us": round(sorted(walls)[(len(walls) - 1) * 99 // 100] * 1e6, 1),
            "rows": rows,
            "rss_bytes": rss,
            "bytes_per_row": round((rss - rss_before) / rows, 1),
            "answer_rows": answer_rows,
            "checksum": f"{total:016x}",
        }
        print(json.dumps(line), flush=True)
        print(
            f"{'duckdb':<13} {given.query:<9} {'recompute':<9} {size:>6} {line['changes_per_s']:>12.0f} changes/s "
            f"{line['changes_per_cpu_s']:>12.0f} changes/cpu-s  p50 {wall_s * 1e3:.1f} ms  rss {rss / 1e6:.0f} MB",
            file=sys.stderr,
        )


main()
