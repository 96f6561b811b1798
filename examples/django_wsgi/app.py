"""The Django project of `../django` under WSGI, on threads: the same files, another `wsgi.py`.

    python -m pip install . django werkzeug && python examples/django_wsgi/app.py

Then open http://127.0.0.1:8000/ in two windows. `../README.md` has the command for gunicorn.
Django's own `runserver` gives no access to its sockets, so that no WebSocket can come through it.
"""

import os
import sys
from pathlib import Path

from django.core.wsgi import get_wsgi_application

EXAMPLES = Path(__file__).parents[1]
sys.path += [str(EXAMPLES / "django"), str(EXAMPLES / "shared")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

app = get_wsgi_application()  # First of all: what follows has models.

from shop import serve_wsgi
from stock.messaging import ws
from stock.prepare import prepare

app = ws.wrap_wsgi(app)

if __name__ == "__main__":
    prepare()
    serve_wsgi(app)
