"""DuckDB's answer to what `bornright findings --summary` counts, over the ten columns that a normaliser keeps.

    duck.py ocsf-ndjson|ocsf-array|asff-pages FILE

Explicit columns are its fastest way (it need not guess); one thread, as the others have.
"""

import json
import sys

import duckdb

OCSF = {
    "metadata": "STRUCT(event_code VARCHAR)",
    "severity": "VARCHAR",
    "status": "VARCHAR",
    "status_code": "VARCHAR",
    "status_detail": "VARCHAR",
    "unmapped": "STRUCT(compliance JSON)",
    "finding_info": "STRUCT(title VARCHAR)",
    "resources": 'STRUCT(uid VARCHAR, "type" VARCHAR, region VARCHAR)[]',
    "cloud": "STRUCT(account STRUCT(uid VARCHAR))",
    "time": "BIGINT",
}
ASFF = {
    "Findings": "STRUCT(Title VARCHAR, AwsAccountId VARCHAR, UpdatedAt VARCHAR, Severity STRUCT(Label VARCHAR),"
    ' Resources STRUCT(Id VARCHAR, "Type" VARCHAR)[],'
    " Compliance STRUCT(Status VARCHAR, SecurityControlId VARCHAR, RelatedRequirements JSON),"
    " Workflow STRUCT(Status VARCHAR))[]"
}
COUNTS = """
select count(*), count(*) filter (status in ('PASS', 'PASSED')), count(*) filter (status in ('FAIL', 'FAILED')),
       count(*) filter (muted), count(distinct resource), count(distinct chk), sum(weight)
"""


def main(form, path):
    db = duckdb.connect()
    db.execute("set threads = 1")
    if form == "asff-pages":
        rows = """
            select f.Compliance.Status as status, f.Workflow.Status = 'SUPPRESSED' as muted,
                   f.Compliance.SecurityControlId as chk, f.Resources[1].Id as resource,
                   length(f.Title) + length(f.AwsAccountId) + length(f.UpdatedAt) + length(f.Severity.Label)
                   + length(f.Resources[1].Type) + length(f.Compliance.RelatedRequirements) as weight
            from (select unnest(Findings) as f from read_json(?, format = 'newline_delimited', columns = %s, maximum_object_size = 67108864))
        """ % columns(ASFF)
    else:
        kind = "array" if form == "ocsf-array" else "newline_delimited"
        rows = """
            select status_code as status, status = 'Suppressed' as muted, metadata.event_code as chk, resources[1].uid as resource,
                   length(severity) + length(status_detail) + length(unmapped.compliance) + length(finding_info.title)
                   + length(resources[1].type) + length(resources[1].region) + length(cloud.account.uid) + time %% 2 as weight
            from read_json(?, format = '%s', columns = %s, maximum_object_size = 67108864)
        """ % (kind, columns(OCSF))
    found = db.execute(COUNTS + " from (" + rows + ")", [path]).fetchone()
    names = ["findings", "pass", "fail", "suppressed", "resources", "checks"]
    print(json.dumps(dict(zip(names, found))))


def columns(types):
    return "{" + ", ".join("%s: '%s'" % (k, v) for k, v in types.items()) + "}"


if __name__ == "__main__":
    main(*sys.argv[1:])
