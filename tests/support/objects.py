"""An S3 on the loopback: moto's server, a process's worth of the real wire, with one bucket."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "segments"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "rolehost",
    "AWS_SECRET_ACCESS_KEY": "a-dragon",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


class S3:
    def __init__(self, address: str) -> None:
        self.address = address
        self.url = f"s3://{BUCKET}/rolehost"

    @contextmanager
    def environment(self) -> Iterator[None]:
        """What a gateway's process would be given beside the URL."""
        given = {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.address}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def s3() -> Iterator[S3]:
    from moto.server import ThreadedMotoServer  # heavy, and only here

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        with urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")):
            yield S3(address)
    finally:
        server.stop()
