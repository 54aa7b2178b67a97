from torture_parts.kit import *
def inputs(place): return Counts()
