"""How and where the network is computed."""
