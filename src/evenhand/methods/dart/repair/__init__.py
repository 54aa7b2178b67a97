"""DART: distil explanations, audit them for harm drift, repair what drifted (arXiv 2604.16845)."""
