"""The REST API over the manager's use cases (usp.manager.app). Everything lies under `/api/v1`.

* `site`: the application: routes, middlewares, OpenAPI · `middleware`: what surrounds every request
* `errors`: every failure as `application/problem+json` (RFC 9457) · `auth`: who asks
* a module for each concern: `items`, `servers`, `run`, `sessions`, `access`, `events`, `diagnose`

The API and the pusher never import each other: they meet in the store.
"""

from usp.manager.api.site import application

__all__ = ["application"]
