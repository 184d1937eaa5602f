"""The catalog of sources, their readers, fetching, cleaning and Super-NI pairs."""
