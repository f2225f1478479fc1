"""Whether a machine, and a folder that several of them share, are fit for studies: what `synthjax doctor` measures."""
