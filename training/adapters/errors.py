"""What stops an adapter."""


class AdapterError(ValueError):
    """A design, a backbone or a file of adapter weights that does not fit; the message is one sentence for the user."""
