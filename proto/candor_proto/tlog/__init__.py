"""The transparency log, pure: formats of C2SP, entries, rules of the log (docs/protocol.md §14-§16.1).

No I/O, no clock. Reading order: `base64lines`, `note`, `checkpoint`, `signatures`, `tiles`, `policy`,
`proof`, `witness`, then what Candor puts into the log: `statements`, `entries`, `rows`, `state`, `age`.
"""
