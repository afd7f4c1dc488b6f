"""usage: s3server.py PORT ACCESS-KEY SECRET BUCKET

moto's S3 on 127.0.0.1 with one bucket. moto checks nobody, so every request is first signed again by botocore, the
signer of Amazon's own clients, and served when that gives the same signature.
"""

import sys
from urllib.parse import parse_qs, parse_qsl, urlencode

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>no</Message></Error>'


class Checked:
    """A WSGI application that refuses requests with a wrong presigned URL."""

    def __init__(self, application, credentials):
        self.application = application
        self.credentials = credentials

    def __call__(self, environ, start_response):
        code = self.refusal(environ)
        if code is None:
            return self.application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [ERROR.format(code).encode()]

    def refusal(self, environ):
        query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        if "X-Amz-Signature" not in query:
            return "AccessDenied"
        key, _, region, _, _ = query["X-Amz-Credential"].split("/")
        if key != self.credentials.access_key:
            return "InvalidAccessKeyId"
        if query["X-Amz-SignedHeaders"] != "host":
            return "AccessDenied"
        rest = [pair for pair in parse_qsl(environ["QUERY_STRING"], True) if not pair[0].startswith("X-Amz-")]
        url = "http://" + environ["HTTP_HOST"] + environ["RAW_URI"].partition("?")[0]
        request = AWSRequest(method=environ["REQUEST_METHOD"], url=url + "?" + urlencode(rest))
        request.context["timestamp"] = query["X-Amz-Date"]
        signer = S3SigV4QueryAuth(self.credentials, "s3", region, expires=int(query["X-Amz-Expires"]))
        signer._modify_request_before_signing(request)
        to_sign = signer.string_to_sign(request, signer.canonical_request(request))
        if signer.signature(to_sign, request) != query["X-Amz-Signature"]:
            return "SignatureDoesNotMatch"
        return None


def main():
    port, key, secret, bucket = sys.argv[1:]
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, "us-east-1")
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", int(port), Checked(application, Credentials(key, secret)), threaded=True)
    server.serve_forever()


main()
