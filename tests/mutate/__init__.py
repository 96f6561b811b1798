"""Small faults put into the code one by one, and whether the tests see them."""
