from django.db import models


class Product(models.Model):
    product_id = models.SlugField(primary_key=True)
    name = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return f"{self.name}: {self.quantity}"
