"""The runtime: what drives a node in the real world, with its sockets, its disk and its clock."""
