"""usp-manager: the configuration, its versions, and what is known of the servers. Several managers share one database.

Decided purely, from values:

    catalog     all items at one revision, and what changes make of it; kinds, rules: what the models say of them
    compile     what one server needs of the catalog
    reconcile   the next step for one server, from what is wanted and what is seen
    rollout, diff, explain, sets, changes, balance   pushes to several, differences, why, configuration as code, history

Done, in the daemon (`main`):

    pusher      looks at the servers and takes that step; holdings: which of them are this manager's, by leases
    collect     fetches what servers tell of their partners; rollouts: moves pushes to several servers on
    control     what is said to servers, over mutual TLS
    app         the use cases, with one module for each concern: pushes, logins, users, guard, diagnose, bulk, ...
    vault       seals secrets; entry and keys: what happens to an item's fields on their way in
    store/      the only place that knows the database
    api/, ui/   REST API and web UI over the use cases; web: the port that both are on

`api` and `pusher` never import each other: they meet in the store, and `bell` wakes the one when the other wrote.
"""
