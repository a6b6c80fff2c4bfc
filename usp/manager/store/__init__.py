"""The store: the only place that knows the database. All managers of an installation share one.

`Store` (database.py opens it) is several concerns over one `Database`, a file each:

* `items`: the catalog, written by compare-and-set on its revision, and the history of each item
* `versions`: what was pushed to each server, as numbered, sealed snapshots
* `rollouts`: pushes to several servers, one after another
* `servers`: desired and observed state of each server, run states of Deployments and Tunnels
* `users`: administrators, their API tokens and logins
* `leases`: who does a job that one manager does at a time
* `lockouts`: who failed to log in how often · `preferences`: settings that managers share
* `events`: the audit trail

Rows come out as the frozen dataclasses of rows.py. Times and ids are arguments; rows hold UTC. Whatever a driver raises
leaves as UspError `database.unavailable`.
"""

from usp.manager.store.store import Store

__all__ = ["Store"]
