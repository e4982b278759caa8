"""Fills the emulated AWS account that AWS_ENDPOINT_URL names with what tests/peers.rs counts on.

Eight buckets, three of them open to a public policy; five volumes, two unencrypted; two keys, one never rotated; a rule of
AWS Config, for a call that the emulator does not know. Refuses any endpoint that is not loopback.
"""

import os
import sys
from urllib.parse import urlparse

import boto3

if urlparse(os.environ["AWS_ENDPOINT_URL"]).hostname != "127.0.0.1":
    sys.exit("only a loopback endpoint may be filled")

region = os.environ["AWS_REGION"]
here = {"CreateBucketConfiguration": {"LocationConstraint": region}}

s3 = boto3.client("s3")
for i in range(8):
    s3.create_bucket(Bucket=f"acme-data-{i}", **here)
    if i not in (1, 4, 6):
        block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
        s3.put_public_access_block(Bucket=f"acme-data-{i}", PublicAccessBlockConfiguration=block)

kms = boto3.client("kms")
keys = [kms.create_key(Description=f"acme key {i}")["KeyMetadata"]["KeyId"] for i in range(2)]
kms.enable_key_rotation(KeyId=keys[1])

ec2 = boto3.client("ec2")
for i in range(5):
    # A key of ours: without one, AWS makes a key of its own, which would be a third.
    how = {"Encrypted": False} if i in (0, 3) else {"Encrypted": True, "KmsKeyId": keys[1]}
    ec2.create_volume(AvailabilityZone=region + "a", Size=10 + i, VolumeType="gp3", **how)

config = boto3.client("config")
recorder = {"name": "default", "roleARN": "arn:aws:iam::417205518860:role/config"}
config.put_configuration_recorder(ConfigurationRecorder=recorder)
rule = {"ConfigRuleName": "acme-encrypted", "Source": {"Owner": "AWS", "SourceIdentifier": "ENCRYPTED_VOLUMES"}}
config.put_config_rule(ConfigRule=rule)
