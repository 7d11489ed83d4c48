"""A variant as a WSGI application: `VARIANT=... FOLDER=... gunicorn benchmarks.application:application`."""

import os

from benchmarks.variants import configure

configure(os.environ["VARIANT"], os.environ["FOLDER"])

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

application = WSGIHandler()
