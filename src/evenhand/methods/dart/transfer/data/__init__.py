"""Items of the transfer audit: readers and shipped sets."""
