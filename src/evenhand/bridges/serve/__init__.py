"""A local server that speaks the OpenAI wire, with a TSDI correction if one is given."""
