"""`bucket.py make NAME` makes a bucket in the emulated account; `bucket.py fetch NAME DIRECTORY` brings all that is in it."""

import os
import pathlib
import sys

import boto3

s3 = boto3.client("s3")
match sys.argv[1:]:
    case ["make", name]:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": os.environ["AWS_REGION"]})
    case ["fetch", name, directory]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", []):
                path = pathlib.Path(directory, item["Key"])
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(name, item["Key"], str(path))
    case other:
        sys.exit(f"no such thing: {other}")
