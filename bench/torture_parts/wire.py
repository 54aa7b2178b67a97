from torture_parts.kit import *
def wire(place): return Counts()
