"""What `candor-hub doctor` looks at: what the hub has, how it is reached, and how its members are."""
