"""The implicit reward of harmful texts against their comparisons, stage by stage."""
