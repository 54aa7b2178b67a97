"""Items of the coverage report: readers and shipped sets."""
