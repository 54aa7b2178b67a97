"""Which identities a preference data set covers."""
