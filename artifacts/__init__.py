"""The store of content-addressed artifacts, the MEDI row, and the types the rooms share."""
