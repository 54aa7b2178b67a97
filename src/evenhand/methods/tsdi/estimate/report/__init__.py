"""What the report says of TSDI: the estimated bias, and the sweep over its settings."""
