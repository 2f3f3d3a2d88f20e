"""A real S3 server on the loopback (moto's, which keeps conditions under races), in this process, so that it can be broken."""

from __future__ import annotations

import threading

from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from tests.ports import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
EXPIRED = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


class S3:
    """The server. ``writes`` is what was asked of it that changes something, as (method, key), in order."""

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.app = DomainDispatcherApplication(create_backend_app)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": self.url}
        self.writes, self.has_expired, self.server = [], False, None
        self.start()

    def __call__(self, environ, start_response):
        refused = self.has_expired if isinstance(self.has_expired, str) else ""  # the credentials' name, or all
        if self.has_expired and refused in environ.get("HTTP_AUTHORIZATION", ""):
            return Response(EXPIRED, 403, mimetype="application/xml")(environ, start_response)
        if environ["REQUEST_METHOD"] in ("PUT", "DELETE"):
            self.writes.append((environ["REQUEST_METHOD"], environ["PATH_INFO"].partition("/sweeps/")[2]))
        return self.app(environ, start_response)

    def start(self):
        """Answer again, with what was held before."""
        self.server = make_server("127.0.0.1", self.port, self, threaded=True)
        self.server.log_startup = lambda: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        """Be away: connections are refused."""
        self.server.shutdown()
        self.server.server_close()

    def make_bucket(self, name):
        """Make a bucket; returns an address in it."""
        import boto3

        boto3.client("s3", endpoint_url=self.url).create_bucket(Bucket=name)
        return f"s3://{name}/sweeps"
