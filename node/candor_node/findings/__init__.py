"""What `candor-node doctor` looks at: readings of the node's database, and checks in three modules."""
