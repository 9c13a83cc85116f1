"""Which deployments may answer a call, in which order, and why."""
