"""Items of the reward audit: readers and shipped sets."""
