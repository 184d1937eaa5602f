"""The flows, their profiles and the command line."""
