"""Images, tables, sound, figures and the like: what runs and artifacts keep as files of their own."""
