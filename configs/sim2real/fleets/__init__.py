"""The fleets of twins that are known by name: what their hidden parameters are drawn from."""
