"""Commands with a module of their own; the command line registers them."""
