from django.urls import path
from django.views.static import serve

from shop import PAGE
from stock import views

urlpatterns = [
    path("page.json", views.page),
    path("login", views.log_in),
    path("logout", views.log_out),
    path("restock", views.restock),
    path("", serve, {"path": "index.html", "document_root": PAGE}),
    path("<path:path>", serve, {"document_root": PAGE}),
]
