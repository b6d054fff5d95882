"""What stops an export."""


class ExportError(ValueError):
    """A model cannot be exported as the model repository needs it; the message is one sentence for the user."""
