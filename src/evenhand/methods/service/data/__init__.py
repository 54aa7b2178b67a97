"""Items of the service audit: readers and shipped sets."""
