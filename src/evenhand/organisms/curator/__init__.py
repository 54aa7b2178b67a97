"""A seventh organism that sorts placeholder prompts into harm domains and writes new ones, with planted faults in both."""
