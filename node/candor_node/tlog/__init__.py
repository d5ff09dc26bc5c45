"""The federation's log as a node has it: read whole, verified, witnessed (docs/protocol.md §10.4, §14, §15).

Reading order: `migrations`, `log_store` (what is kept), `files` (how files of the log are fetched),
`catching_up` (one head taken up), `follower` (all of §15.5, and the age), then `witness_store`, `witness`,
`witness_http` and `witness_folder` (cosigning), `watching`, `heartbeats` and `statements` (what this node
says in the log).
"""
