"""Charts of tables, and the curves that classifiers are judged by."""
