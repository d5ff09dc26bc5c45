"""A new hub out of a copy of the log and one member's directory (docs/protocol.md §19)."""
