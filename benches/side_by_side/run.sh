#!/usr/bin/env bash
# The program beside other tools, in one run, on this machine. Prints Markdown tables; see docs/performance.md.
#
#     benches/side_by_side/run.sh                       100k findings to read, 200k to serve
#     FINDINGS=1000000 ROUNDS=3 benches/side_by_side/run.sh
#     PARTS=reading benches/side_by_side/run.sh         or PARTS=serving, PARTS=rendering
#     JQ=1 …                                            jq too, which takes minutes
#
# Wants python3 with venv, and room for the corpus: 13 kB a finding to read, 7 kB to serve. The peers of
# `serving` are used if they are installed: apt-get install prometheus-node-exporter prometheus-pushgateway
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=benches/side_by_side
out=$PWD/target/side_by_side
parts=${PARTS:-reading rendering serving}

mkdir -p "$out/corpus"
echo "==> building" >&2
cargo build --release --locked
CARGO_TARGET_DIR=$out cargo build --release --manifest-path $here/Cargo.toml
if [[ " $parts " == *" reading "* ]] && ! "$out/venv/bin/python" -c 'import duckdb' 2>/dev/null; then
  echo "==> a Python environment with DuckDB" >&2
  python3 -m venv "$out/venv"
  "$out/venv/bin/pip" install -q 'duckdb==2.0.*'
fi

printf '%s, %s cores, load %s, %s\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$(rustc --version)"
for part in $parts; do
  case $part in
    reading)
      "$out/venv/bin/python" $here/reading.py --bin "$out/release" --bornright target/release/bornright --corpus "$out/corpus" \
        --findings "${FINDINGS:-100000}" --rounds "${ROUNDS:-5}" ${JQ:+--jq}
      ;;
    rendering)
      printf '\n### prometheus-client Family, labels of strings\n\n'
      for n in 10000 100000; do "$out/release/family" $n 7; done
      ;;
    serving)
      python3 $here/serving.py --bin "$out/release" --bornright target/release/bornright --work "$out/serving" --findings "${FINDINGS:-200000}"
      ;;
    *)
      echo "error: PARTS has $part; expected reading, rendering, serving" >&2
      exit 2
      ;;
  esac
done
