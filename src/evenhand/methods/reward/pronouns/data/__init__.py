"""Items of the pronoun audit: readers and shipped sets."""
