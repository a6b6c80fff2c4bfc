"""What browsers get. `swagger-ui/` is fetched when a package is built (`fetch.py`), and is not in the repository."""
