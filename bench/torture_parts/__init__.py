"""The parts of ``make torture``: what is done to Evenhand, and how the outcome is judged."""
