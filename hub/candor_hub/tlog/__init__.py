"""The hub's half of the transparency log (docs/protocol.md §14, §15; docs/log.md for operators).

Reading order: `due` (what is to be logged), `files`, `ring` (the keys of a shard), `pages` (what is shown),
`appender` (one append, in its order), `witnessed` (a head that has its quorum), `start`, `rotation`, `asking`
and `sequencer` (the work that nobody calls for), `statements`, `https`, `fsck`.
"""
