"""Items of the rating audit: readers and shipped sets."""
