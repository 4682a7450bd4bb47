#!/usr/bin/env bash
# All agree: after the same changes, each query's answer has one checksum, DuckDB's recompute and Driftless included.
#   benches/peers/check.sh [query...]       MAINTAIN=path takes that binary of benches/maintain.rs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/driftless"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target-peers}"
cargo build --release --locked --quiet
peers="$CARGO_TARGET_DIR/release/peers"
python="$cache/venv/bin/python"
maintain=(${MAINTAIN:-env CARGO_TARGET_DIR="$cache/target" cargo test --release --locked --quiet --bench maintain --})

rows="${ROWS:-60000}"
work=(--rows "$rows" --batch 1,100,1001 --batches 21 --seed 3)
queries=("$@")
[ $# -gt 0 ] || queries=(q1 q2 q3 top1 nexmark3 nexmark4 nexmark5 nexmark7 nexmark8)

answer() { tail -n 1 | sed -E 's/.*"answer_rows": ?([0-9]+).*"checksum": ?"([0-9a-f]+)".*/\2 \1 rows/'; }
failed=0
for query in "${queries[@]}"; do
  dbsp=$("$peers" dbsp "$query" --load 30000 "${work[@]}" 2>/dev/null | answer)
  differential=$("$peers" differential "$query" --load 30000 "${work[@]}" 2>/dev/null | answer)
  duckdb=$("$python" duckdb_recompute.py "$query" --peers "$peers" --seconds 0 "${work[@]}" 2>/dev/null | answer)
  driftless=$("${maintain[@]}" "$query" --load 30000 "${work[@]}" 2>/dev/null | answer)
  if [ "$dbsp" = "$differential" ] && [ "$dbsp" = "$duckdb" ] && [ "$dbsp" = "$driftless" ] && [ -n "$dbsp" ]; then
    echo "ok   $query: $dbsp"
  else
    echo "FAIL $query: dbsp $dbsp, differential $differential, duckdb $duckdb, driftless ${driftless:-refuses it}"
    failed=1
  fi
done
exit $failed
