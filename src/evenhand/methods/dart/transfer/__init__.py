"""Whether difference awareness carries over to professional questions."""
