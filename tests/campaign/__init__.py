"""Long campaigns: faults, kills, power cuts, a bad network (docs/campaigns.md)."""

import os

# gRPC's core writes lines of its own to standard error for every connection that fails.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
