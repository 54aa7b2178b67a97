"""A run: its folder, journal, tables and plan; the runner, and what loads a finished run."""
