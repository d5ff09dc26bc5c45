"""The reviewer's verifier: its own reading of docs/protocol.md, with public keys and nothing else."""
