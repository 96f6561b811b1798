from django.urls import path

from stock import views

urlpatterns = [
    path("page.json", views.page),
    path("login", views.log_in),
    path("logout", views.log_out),
    path("restock", views.restock),
    path("", views.file),
    path("<str:name>", views.file),
]
