"""What is measured: one module per scenario, each giving the runs that go into one result file."""
