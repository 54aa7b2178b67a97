"""Items of the difference audit: readers and shipped sets."""
