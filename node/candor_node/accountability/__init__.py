"""What this node can prove to others: receipts, evidence, openings for audits (docs/protocol.md §16-§18).

Nothing here is ever sent anywhere: files leave by a person's command. `noticing` stores what contradicts
itself when it is seen, `proofs` fetches what the log says of it when a file is made.
"""
