"""The federation's log as a node has it: read whole, verified, witnessed (docs/protocol.md §10.4, §14, §15).

Reading order: `migrations`, `log_store` (what is kept), `files` (how files of the log are fetched),
`folding` (entries become state), `taking_up` (one head of §15.5), `policies`, `view` (what its age allows),
`admission` (of a directory), `follower` (all of it); `contradictions` (for evidence); `witness_store`,
`witness`, `member`, `witness_http` and `witness_folder` (cosigning); `watching`, `heartbeats` and
`own_statements` (what this node says in the log, and what it waits for there).
"""
