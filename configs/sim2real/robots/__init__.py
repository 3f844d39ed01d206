"""How the robots of each kind are identified, as YAML."""
