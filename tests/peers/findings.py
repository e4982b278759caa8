"""`findings.py import COUNT` hands Security Hub so many findings; `findings.py put BUCKET FILE KEY` puts a file in a bucket."""

import os
import sys

import boto3

REGION = os.environ["AWS_REGION"]
ACCOUNT = os.environ["MOTO_ACCOUNT_ID"]


def finding(i):
    """Every tenth bucket is open."""
    bad = i % 10 == 0
    return {
        "SchemaVersion": "2018-10-08",
        "Id": f"arn:aws:securityhub:{REGION}:{ACCOUNT}:security-control/S3.8/finding/{i:08}",
        "ProductArn": f"arn:aws:securityhub:{REGION}:{ACCOUNT}:product/{ACCOUNT}/default",
        "GeneratorId": "security-control/S3.8",
        "AwsAccountId": ACCOUNT,
        "CreatedAt": "2026-11-20T06:00:00.000Z",
        "UpdatedAt": "2026-11-23T06:00:00.000Z",
        "Title": "S3 general purpose buckets should block public access",
        "Description": "…",
        "Severity": {"Label": "HIGH"},
        "Compliance": {"Status": "FAILED" if bad else "PASSED", "SecurityControlId": "S3.8"},
        "Resources": [{"Type": "AwsS3Bucket", "Id": f"arn:aws:s3:::b-{i}", "Region": REGION}],
    }


match sys.argv[1:]:
    case ["import", count]:
        hub = boto3.client("securityhub")
        hub.enable_security_hub()
        every = [finding(i) for i in range(int(count))]
        for start in range(0, len(every), 100):
            answer = hub.batch_import_findings(Findings=every[start : start + 100])
            if answer["FailedCount"]:
                sys.exit(f"{answer['FailedFindings'][:3]}")
    case ["put", bucket, file, key]:
        boto3.client("s3").upload_file(file, bucket, key)
    case other:
        sys.exit(f"no such thing: {other}")
