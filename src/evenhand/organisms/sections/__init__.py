"""Grammar sections: one file an audit."""
