"""the fault rig: a scripted upstream, load clients, and a reconciler that compares three books."""
