"""What goes over HTTP: the views of every Django project, all of them sync."""

from mimetypes import guess_type

from django.contrib.auth import authenticate, login, logout
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from shop import LOW, PAGE, Adjustment
from stock.messaging import change
from stock.models import Product


@require_GET
def file(request: HttpRequest, name: str = "index.html") -> HttpResponse:
    found = next((each for each in PAGE.iterdir() if each.name == name), None)
    if found is None:
        raise Http404
    return HttpResponse(found.read_bytes(), content_type=guess_type(name)[0])


@require_GET
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    paths = {"login": "/login", "logout": "/logout", "restock": "/restock"}
    return JsonResponse({"server": "Django", **paths})


@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    name, password = request.POST.get("username"), request.POST.get("password")
    user = authenticate(request, username=name, password=password)
    if user is None:
        return JsonResponse({"detail": "unknown name or wrong password"}, status=400)
    login(request, user)
    return JsonResponse({"user": user.get_username()})


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return JsonResponse({})


@require_POST
def restock(request: HttpRequest) -> HttpResponse:
    """A delivery: 20 more of everything that is low. All of it, or nothing, is published."""
    if not request.user.is_authenticated:
        return JsonResponse({"detail": "log in to change the stock"}, status=401)
    with transaction.atomic():
        low = [product.pk for product in Product.objects.filter(quantity__lte=LOW)]
        for product_id in low:
            change(product_id, Adjustment(20), request.user.get_username())
    return JsonResponse({"restocked": len(low)})
