"""What an operator sees of a node or a hub: findings, log lines, metrics, traces, health."""
