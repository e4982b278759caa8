#!/usr/bin/env python3
"""How the larger files of this folder were cut down. Kept for provenance; nothing runs it.

    reduce.py prowler  full1.ocsf.json.gz out.json.gz     drop prose, links and resource dumps; no finding is dropped
    reduce.py asff     page.json.gz... -- out.json.gz     findings of S3, IAM and CloudTrail checks of all pages, as one page
    reduce.py checkov  results_json.json.gz out.json.gz   drop code blocks and empty fields; no check is dropped
    reduce.py xccdf    results.xml.gz out.xml.gz          benchmark: rule ids, severities and titles; TestResult: whole
"""

import gzip
import json
import sys
import xml.etree.ElementTree as ET

FRAMEWORKS = {"CIS-3.0", "ISO27001-2022", "NIST-800-53-Revision-5", "SOC2"}
XCCDF = "http://checklists.nist.gov/xccdf/1.2"


def read(path):
    with gzip.open(path, "rb") as f:
        return f.read()


def write(path, data):
    # No name and no time in the header: the same input gives the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as f:
        f.write(data)


def prowler(source, target):
    records = json.loads(read(source))
    for r in records:
        for gone in ("risk_details", "remediation", "message"):
            r.pop(gone, None)
        r["finding_info"].pop("desc", None)
        u = r["unmapped"]
        for gone in ("additional_urls", "related_url", "notes", "depends_on", "related_to", "categories"):
            u.pop(gone, None)
        u["compliance"] = {k: v for k, v in u["compliance"].items() if k in FRAMEWORKS}
        for resource in r["resources"]:
            resource["data"] = {"details": "", "metadata": {}}
    # Prowler writes one array, indented by four.
    write(target, json.dumps(records, indent=4).encode())


def asff(sources, target):
    kept = []
    for source in sources:
        for f in json.loads(read(source))["Findings"]:
            if f["GeneratorId"].split("-", 1)[1].split("_")[0] in {"s3", "iam", "cloudtrail"}:
                f.pop("Remediation", None)
                f["Compliance"].pop("AssociatedStandards", None)
                f["Compliance"]["RelatedRequirements"] = [
                    r for r in f["Compliance"].get("RelatedRequirements", []) if r.split(" ", 1)[0] in FRAMEWORKS
                ]
                kept.append(f)
    write(target, json.dumps({"Findings": kept}, indent=1).encode())


def checkov(source, target):
    reports = json.loads(read(source))
    for report in reports:
        for group in ("passed_checks", "failed_checks", "skipped_checks"):
            for c in report["results"][group]:
                c["code_block"] = None
                c["check_result"].pop("entity", None)
                c["check_result"].pop("evaluated_keys", None)
                for k in [k for k, v in c.items() if v in (None, {}, []) and k not in ("severity", "code_block")]:
                    del c[k]
    write(target, json.dumps(reports, indent=1).encode())


def xccdf(source, target):
    ET.register_namespace("", XCCDF)
    root = ET.fromstring(read(source))
    x = "{%s}" % XCCDF
    asked = {r.get("idref") for r in root.iter(x + "rule-result") if r.findtext(x + "result") != "notselected"}

    def keep(node):
        for child in list(node):
            tag = child.tag.removeprefix(x)
            if tag == "TestResult":
                continue
            if tag == "Group":
                keep(child)
                if child.find(".//" + x + "Rule") is None:
                    node.remove(child)
            elif tag == "Rule" and child.get("id") in asked:
                for part in list(child):
                    name = part.tag.removeprefix(x)
                    cis = name == "reference" and "cisecurity" in (part.get("href") or "")
                    if name != "title" and not cis:
                        child.remove(part)
            elif tag not in ("title", "version", "status", "model"):
                node.remove(child)

    keep(root)
    write(target, b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root) + b"\n")


if __name__ == "__main__":
    what, args = sys.argv[1], sys.argv[2:]
    if what == "asff":
        asff(args[: args.index("--")], args[-1])
    else:
        {"prowler": prowler, "checkov": checkov, "xccdf": xccdf}[what](*args)
