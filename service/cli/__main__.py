"""`python -m service.cli`, the same as `quorum`."""

from service.cli import app

app(prog_name="quorum")
