"""What the exported zoo can do, measured through the gateway's own arithmetic, so that offline equals online."""
