"""The curator's training and the computing of its truth."""
