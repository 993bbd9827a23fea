"""`./streamhouse bench`: this project beside its rivals in one run, with what is behind printed as well as what is ahead."""
