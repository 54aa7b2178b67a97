"""The five methods, a package for each; no method imports another."""
