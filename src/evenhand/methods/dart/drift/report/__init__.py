"""The drift audit's part of the report."""
