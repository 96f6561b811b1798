"""StockSync in a Django project: the login of `contrib.auth`, the stock in a database, and a view
that publishes when its transaction is committed.

    python -m pip install . django uvicorn && python examples/django/app.py

Then open http://127.0.0.1:8000/ in two windows. This file stands for `manage.py` and `asgi.py`;
read on in `stock/messaging.py`.
"""

import os
import sys
from pathlib import Path

from django.core.asgi import get_asgi_application

sys.path.append(str(Path(__file__).parents[1] / "shared"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

app = get_asgi_application()  # First of all: what follows has models.

from shop import serve
from stock.messaging import ws
from stock.prepare import prepare

app = ws.install(app)

if __name__ == "__main__":
    prepare()
    serve(app)
