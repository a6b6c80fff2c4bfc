"""The web UI for administrators, over the same use cases as the REST API (usp.manager.app). It lies under `/ui`.

* `site`: the application: all pages, what surrounds them, how failures look · `visits`: who looks, and forged requests
* `pages`: templates become answers · `assets`: styles, scripts, and what `package.json` pins · `words` (pure): states,
  numbers and times as people read them
* `navigation`: what there is, in which order · a module for each page: `login`, `status`, ...
* `board`: what is live, looked up once for all who watch · `recent`: the same, for what is asked now and then
* pure: `overview` (a server's row), `concerns` (what needs a person), `drawing` (the topology) · `series`: the charts

`templates/` are Jinja2's, `static/` our own styles and scripts. `vendor/` and `swagger-ui/` are fetched by `make ui`.
A page decides nothing and knows no SQL: it asks the application, and shows what came of it. It works without scripts
but for what moves by itself; htmx and one stream of server-sent events make it live.
"""
