"""Items of the prompt-set builder: readers and shipped sets."""
