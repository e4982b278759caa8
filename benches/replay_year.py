#!/usr/bin/env python3
"""Writes a year of daily scans for `bornright replay`: 10 controls on 1 000 resources in 10 accounts, of which some break,
stay broken for a while and are mended.

    python3 benches/replay_year.py DIR [DAYS [CONTROLS [RESOURCES]]]
    time bornright replay --config DIR/bornright.yaml --scans DIR/scans.json --output alerts
"""
import datetime
import json
import pathlib
import random
import sys

out = pathlib.Path(sys.argv[1])
days, controls, resources = (int(sys.argv[i]) if len(sys.argv) > i else n for i, n in ((2, 365), (3, 10), (4, 1000)))
dice = random.Random(1)
(out / "scans").mkdir(parents=True, exist_ok=True)
start = datetime.datetime(2025, 1, 1, 6, tzinfo=datetime.timezone.utc)
ids = [f"control-{i:02}" for i in range(controls)]

(out / "bornright.yaml").write_text(
    'definitions: [definitions.yaml]\nscope: "{account}"\ncollectors:\n'
    "  - { name: all, every: 1d, from: { file: { path: 'scans/*' } }, format: native }\n"
)
text = "apiVersion: bornright/v1\nkind: ControlSet\nmetadata: { name: year }\nspec:\n  version: 1.0.0\n  owner: platform\n  controls:\n"
for i in ids:
    text += f"    - {{ id: {i}, title: {i}, severity: high, checks: [ {{ id: {i} }} ], fix_within: 7d }}\n"
for i in ids:
    text += (
        f"---\napiVersion: bornright/v1\nkind: SLO\nmetadata: {{ name: {i} }}\n"
        f"spec: {{ service: year, controls: {{ ids: [{i}] }}, objective: 99%, period: 30d, unknown: bad }}\n"
    )
(out / "definitions.yaml").write_text(text)

broken = set()
scans = []
for day in range(days):
    at = start + datetime.timedelta(days=day)
    broken = {pair for pair in broken if dice.random() > 0.25}
    broken |= {(dice.choice(ids), dice.randrange(resources)) for _ in range(controls * resources // 500)}
    with open(out / "scans" / f"{day:04}.ndjson", "w") as scan:
        for r in range(resources):
            for i in ids:
                result = "fail" if (i, r) in broken else "pass"
                scan.write(
                    f'{{"check":"{i}","resource":{{"id":"arn:aws:s3:::bucket-{r}"}},"result":"{result}","fields":{{"account":"acme-{r % 10}"}}}}\n'
                )
    scans.append({"at": at.isoformat(), "collector": "all", "path": f"scans/{day:04}.ndjson"})
(out / "scans.json").write_text(json.dumps({"scans": scans}))
