"""The collector: deletes what nothing refers to, so that its space can be used again."""
