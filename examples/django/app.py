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

from django.contrib.auth.models import User
from django.core.management import call_command

from shop import ITEMS, PASSWORDS, serve
from stock.messaging import ws
from stock.models import Product

app = ws.install(app)


def prepare() -> None:
    """Make the tables, and what is to be there when the example is started for the first time."""
    call_command("migrate", verbosity=0)
    for item in ITEMS:
        defaults = {"name": item.name, "quantity": item.quantity}
        Product.objects.get_or_create(product_id=item.product_id, defaults=defaults)
    for name, password in PASSWORDS.items():
        if not User.objects.filter(username=name).exists():
            User.objects.create_user(name, password=password)


if __name__ == "__main__":
    prepare()
    serve(app)
