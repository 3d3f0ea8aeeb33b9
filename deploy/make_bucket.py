"""Make the bucket of STORAGE_URL at STORAGE_ENDPOINT, unless it is there: for the first start of a site."""

import os
import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

THERE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
TRIES, SECONDS_A_TRY = 60, 1.0


def main() -> int:
    """0 once the bucket is there; 1 where the store can't be reached or refuses."""
    bucket = urlsplit(os.environ["STORAGE_URL"]).netloc
    client = boto3.client("s3", endpoint_url=os.environ.get("STORAGE_ENDPOINT") or None)
    for _ in range(TRIES):
        try:
            client.create_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in THERE:
                print(f"The store refuses to make the bucket {bucket}: {error}", file=sys.stderr)
                return 1
        except BotoCoreError as error:
            said = error
            time.sleep(SECONDS_A_TRY)
            continue
        print(f"The bucket {bucket} is there.")
        return 0
    print(f"The store at {os.environ.get('STORAGE_ENDPOINT')} can't be reached: {said}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
