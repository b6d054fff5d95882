"""What stops experts, and training with them."""


class ExpertError(ValueError):
    """An expert, a tower or a file of labels that does not fit; the message is one sentence for the user."""
