"""How fast documents are read: `bornright findings --summary` beside serde_json, DuckDB and jq, in one run.

    reading.py --bin DIR --bornright PATH --corpus DIR [--findings 100000] [--rounds 5] [--only ndjson,array,asff] [--jq]

Run by run.sh, which builds and installs what is needed.
"""

import argparse
import json
import os
import subprocess
import sys

from measure import compare

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {"ndjson": ("ocsf-ndjson", "ocsf"), "array": ("ocsf-array", "ocsf"), "asff": ("asff-pages", "asff")}


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--bin", required=True)
    args.add_argument("--bornright", required=True)
    args.add_argument("--corpus", required=True)
    args.add_argument("--findings", type=int, default=100_000)
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--only", default="ndjson,array,asff")
    args.add_argument("--jq", action="store_true", help="jq too: it takes minutes")
    args = args.parse_args()
    for case in args.only.split(","):
        form, ours = CASES[case]
        path = os.path.join(args.corpus, "%s-%d.json" % (form, args.findings))
        if not os.path.exists(path):
            subprocess.run([args.bin + "/gen", "--findings", str(args.findings), "--format", form, "--out", path], check=True, stderr=subprocess.DEVNULL)
        commands = [
            ("bornright", [args.bornright, "findings", "--format", ours, "--summary", path]),
            ("serde_json typed", [args.bin + "/typed", form, path]),
            ("DuckDB, ten columns", [sys.executable, HERE + "/duck.py", form, path]),
            ("reading alone (wc -l)", ["wc", "-l", path]),
        ]
        if args.jq and case == "ndjson":
            commands.insert(3, ("jq, sort, uniq", ["bash", "-c", "jq -r .status_code '%s' | sort | uniq -c" % path]))
        compare("%s, %d findings" % (form, args.findings), commands, args.rounds, os.path.getsize(path), "DuckDB, ten columns", answer)


def answer(out):
    """Pass, fail, suppressed, resources and checks, from ours and from the yardsticks' JSON."""
    try:
        said = json.loads(out)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    results = said.get("results", said)
    return {
        "pass": results["pass"],
        "fail": results["fail"],
        "suppressed": said["suppressed"],
        "resources": said["resources"],
        "checks": said["checks"],
    }


if __name__ == "__main__":
    main()
