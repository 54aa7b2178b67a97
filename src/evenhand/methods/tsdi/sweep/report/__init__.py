"""Page section of the TSDI sweep."""
