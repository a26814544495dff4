"""Commands with a module of their own; `cubecrop.cli` registers them."""
