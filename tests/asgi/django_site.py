"""A site of Django: sessions and users in a database file, a login, and a view for everything.

Rule: settings of Django are global to a process, so there is this one site, configured once.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.urls import re_path

__all__ = ["NAME", "configure"]

NAME = "ann"


@cache
def configure() -> None:
    """Make the site, once a process."""
    folder = tempfile.TemporaryDirectory(prefix="stocksync-django-", ignore_cleanup_errors=True)
    configure.folder = folder  # type: ignore[attr-defined]
    settings.configure(
        SECRET_KEY="secret",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(folder.name) / "db.sqlite3"),
            }
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGGING_CONFIG=None,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User
    from django.db import connections

    User.objects.create_user(NAME)
    connections.close_all()


def login(request: HttpRequest) -> HttpResponse:
    from django.contrib import auth
    from django.contrib.auth.models import User

    auth.login(request, User.objects.get(username=NAME))
    request.session["cart"] = 3
    return HttpResponse("in")


def caught(request: HttpRequest) -> HttpResponse:
    return HttpResponse("caught")


urlpatterns: list[Any] = [re_path("^login$", login), re_path("", caught)]
