"""TPC-H and TPC-DS as DuckDB has them, and Nexmark as tests/tpc/nexmark.sql has it: tables, queries, changes and answers,
for tests/tpc.rs.

One JSON request a line on stdin, one JSON answer a line on stdout; rows go through Parquet files in a folder.

  {"do": "generate", "suite": "tpch", "scale": 0.01, "folder": "/…"}   tables with their keys, queries
  {"do": "begin"}                                                      all rows, as <table>.parquet
  {"do": "change", "seed": 1, "share": 0.01}                           changed rows, as <table>.parquet
  {"do": "answer"}                                                     which are answered, as <number>.parquet

A tenth of the rows of each table with more than a few is held back at first. A change inserts some of these, deletes
others, which may come back, and gives others some values of their neighbours, or NULL, or what queries ask for: at a
small scale most of them would find nothing.

DuckDB answers as Postgres does: NULLs are last in ascending order and first in descending order, and a division of
integers is an integer. Where a limit cuts among equals, it takes the first of them by all columns, as Driftless does.
"""

import importlib.util
import json
import pathlib
import random
import re
import sys
import traceback

import duckdb

# What tells a row: columns that no change touches. The first column, where it is not here. A day keeps its month, since
# some queries ask for the only month or week of some days.
KEYS = {
    "date_dim": ["d_date_sk", "d_date", "d_year", "d_moy", "d_month_seq", "d_week_seq"],
    "lineitem": ["l_orderkey", "l_linenumber"],
    "partsupp": ["ps_partkey", "ps_suppkey"],
    "catalog_returns": ["cr_item_sk", "cr_order_number"],
    "catalog_sales": ["cs_item_sk", "cs_order_number"],
    "inventory": ["inv_date_sk", "inv_item_sk", "inv_warehouse_sk"],
    "store_returns": ["sr_item_sk", "sr_ticket_number"],
    "store_sales": ["ss_item_sk", "ss_ticket_number"],
    "web_returns": ["wr_item_sk", "wr_order_number"],
    "web_sales": ["ws_item_sk", "ws_order_number"],
}
# A column and what a query compares it with: a literal, or a list of them.
LITERAL = r"(?:'[^']*'|-?\d+(?:\.\d+)?)"
ASKED = re.compile(rf"\b(\w+)\s*(?:=|\bin\b)\s*\(?\s*({LITERAL}(?:\s*,\s*{LITERAL})*)", re.IGNORECASE)
# A table of no more rows has them all from the beginning.
FEW = 20
# Suites of DuckDB's extensions; others are files.
GENERATORS = {"tpch": "dbgen", "tpcds": "dsdgen"}
FOLDER = pathlib.Path(__file__).parent.parent / "tpc"


def connect(suite):
    # The extension comes from its wheel: a test must not fetch code while it runs.
    config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "threads": 1}
    con = duckdb.connect(config=config)
    if suite in GENERATORS:
        home = pathlib.Path(importlib.util.find_spec(f"duckdb_extension_{suite}").origin).parent
        con.load_extension(str(next(home.rglob(f"{suite}.duckdb_extension"))))
    con.execute("set default_null_order = 'postgres'; set integer_division = true")
    return con


def definite(query, columns):
    """The query with all columns behind its order, if it has a limit."""
    limited = re.fullmatch(r"(.*)\b(limit\s+\d+)\s*", query, re.IGNORECASE | re.DOTALL)
    if not limited:
        return query
    outside, inside = None, limited[1]
    while outside != inside:
        outside, inside = inside, re.sub(r"\([^()]*\)", "", inside)
    begin = ", " if re.search(r"\border\s+by\b", outside, re.IGNORECASE) else " order by "
    return limited[1] + begin + ", ".join(str(n + 1) for n in range(columns)) + " " + limited[2]


def asked(queries):
    """For each column the literals that queries compare it with."""
    found = {}
    for column, literals in ASKED.findall(" ".join(queries)):
        found.setdefault(column.lower(), set()).update(re.findall(LITERAL, literals))
    return {column: sorted(literals) for column, literals in found.items()}


class Suite:
    def generate(self, suite, scale, folder):
        self.con, self.folder = connect(suite), pathlib.Path(folder)
        if suite in GENERATORS:
            self.con.execute(f"call {GENERATORS[suite]}(sf = {scale})")
            texts = self.con.execute(f"select query from {suite}_queries() order by query_nr").fetchall()
            self.queries = [text.strip().rstrip(";") for (text,) in texts]
        else:
            self.queries = self.of_file(suite, scale)
        self.asked = asked(self.queries)
        names = self.con.execute("select table_name from duckdb_tables() order by all").fetchall()
        self.tables = {}
        for (name,) in names:
            self.tables[name] = {column[0]: column[1] for column in self.con.execute(f"describe {name}").fetchall()}
            # Without the constraints that it was made with, which the changes do not keep.
            self.con.execute(f"create or replace table {name} as from {name}")
            (size,) = self.con.execute(f"select count(*) from {name}").fetchone()
            held_back = f"hash(rowid) % 10 = 0 and {size} > {FEW}"
            self.con.execute(f"create table reserve_{name} as from {name} where {held_back}")
            self.con.execute(f"delete from {name} where {held_back}")
        keys = {name: [list(columns).index(key) for key in self.key(name)] for name, columns in self.tables.items()}
        return {"tables": list(keys.items()), "queries": self.queries}

    def of_file(self, suite, scale):
        """Makes the tables of a file; its queries."""
        blocks = (FOLDER / f"{suite}.sql").read_text().strip().split("\n\n")[1:]
        blocks = [block.split("\n", 1) for block in blocks]
        for _, table in (block for block in blocks if block[0] == "-- table"):
            self.con.execute(table.replace("$scale", str(scale)))
        return [query for name, query in blocks if name != "-- table"]

    def key(self, table):
        return KEYS.get(table, list(self.tables[table])[:1])

    def begin(self):
        for table in self.tables:
            self.write(f"select *, 1 as diff from {table}", table)
        return {}

    def change(self, seed, share):
        dice = random.Random(seed)
        for table in self.tables:
            self.change_table(table, dice, share)
        return {}

    def change_table(self, table, dice, share):
        con = self.con
        (size,) = con.execute(f"select count(*) from {table}").fetchone()

        def taken(source, name, count):
            """Rows of the source, numbered from 1."""
            rows = f"from {source} order by hash(rowid + {dice.getrandbits(40)}) limit {count}"
            con.execute(f"create or replace temp table ids as select rowid as id {rows}")
            rows = f"from {source} where rowid in (select id from ids)"
            con.execute(f"create or replace temp table {name} as select *, row_number() over () as number {rows}")

        def removed(source):
            con.execute(f"delete from {source} where rowid in (select id from ids)")

        updates, deletes, inserts = (int(size * share / 3 + dice.random()) for _ in range(3))
        updates = max(updates, 1)
        taken(table, "neighbour", updates)
        taken(table, "old", updates + deletes)
        removed(table)
        taken(f"reserve_{table}", "back", inserts)
        removed(f"reserve_{table}")

        def updated(column, kind):
            if column in self.key(table):
                return f"old.{column}"
            chance = f"hash(old.number + {dice.getrandbits(40)}) % 40"
            other = f"when {chance} < 10 then neighbour.{column}"
            if column in self.asked:
                literals = self.asked[column]
                place = f"hash(old.number + {dice.getrandbits(40)}) % {len(literals)}"
                other += f" when {chance} < 20 then list_value({', '.join(literals)})[1 + ({place})::bigint]::{kind}"
            return f"case when {chance} = 39 then null {other} else old.{column} end as {column}"

        columns = ", ".join(self.tables[table])
        con.execute(
            f"create or replace temp table new as"
            f" select {', '.join(updated(*column) for column in self.tables[table].items())}"
            f" from old join neighbour using (number) union all select {columns} from back"
        )
        con.execute(f"insert into {table} from new")
        con.execute(f"insert into reserve_{table} select {columns} from old where number > {updates}")
        self.write(f"select {columns}, -1 as diff from old union all select {columns}, 1 from new", table)

    def answer(self):
        return {"answered": [self.answer_one(number) for number in range(len(self.queries))]}

    def answer_one(self, number):
        query = self.queries[number]
        types = [column[1] for column in self.con.execute(f"describe {query}").fetchall()]
        # Parquet has no integer of 128 bits.
        columns = ", ".join(f"c{n}::decimal(38, 0)" if t == "HUGEINT" else f"c{n}" for n, t in enumerate(types))
        names = ", ".join(f"c{n}" for n in range(len(types)))
        try:
            self.write(f"select {columns} from ({definite(query, len(types))}) as answer({names})", str(number))
        except duckdb.InvalidInputException as error:
            if "More than one row returned by a subquery" not in str(error):
                raise
            return False
        return True

    def write(self, query, name):
        self.con.execute(f"copy ({query}) to '{self.folder / name}.parquet' (format parquet, compression zstd)")


def main():
    suite = Suite()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(suite, request.pop("do"))(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
