"""Looking into an instance afterwards: what a node recorded of it, saved, replayed and drawn."""
