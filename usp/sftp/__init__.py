"""SFTP version 3, as pure values: no socket, clock, log or task (draft-ietf-secsh-filexfer-02, OpenSSH's PROTOCOL).

A map, from the bytes up; each module knows only those above it:

- `wire`     SSH's strings and integers, read within bounds
- `paths`    the normal form of a path name
- `globs`    patterns of paths and names
- `ops`      THE table: every operation and extension that may pass, and what it means
- `packets`  requests, replies and greetings, decoded and encoded by the table
- `framing`  a byte stream cut into packets, without copying what passes
- `policy`   the seam where an operation is allowed or denied, and a Rule's policy made ready
- `records`  facts for the audit log
- `orders`, `uploads`, `quarantine`  a stage behind the relay: files that wait for the verdict of a content scan
- `relay`    the session machine: start reading there
"""
