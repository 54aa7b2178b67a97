"""TSDI: the context-free shift of the opening tokens, measured over random contexts; `engines` subtracts it while decoding."""
