"""Backups of an encrypted database: pages, changes of pages, and how they are put together again
(docs/backup.md).

Reading order: `pages` (a page as it lies on the disk), `trees` (which pages hold a table, and a page without
its secrets), `sealing` (keys of a backup's own), `changes` (a file of changed pages), `copying` (the scan
that writes one), `copier` (its process), `chain` (which files belong together, and joining them), `folders`,
`state` (what the last backup was, for whoever watches). Node and hub both stand on it.
"""
