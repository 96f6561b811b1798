"""What is to be there when the example is started for the first time."""

from django.contrib.auth.models import User
from django.core.management import call_command

from shop import ITEMS, PASSWORDS
from stock.models import Product


def prepare() -> None:
    """Make the tables, the products, and who may log in."""
    call_command("migrate", verbosity=0)
    for item in ITEMS:
        defaults = {"name": item.name, "quantity": item.quantity}
        Product.objects.get_or_create(product_id=item.product_id, defaults=defaults)
    for name, password in PASSWORDS.items():
        if not User.objects.filter(username=name).exists():
            User.objects.create_user(name, password=password)
