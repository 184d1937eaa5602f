"""Evaluate an embedder: MTEB tasks on local files, Billboard, the report before and after."""
