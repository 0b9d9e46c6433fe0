"""The measurements, one for each row or group of rows of the table."""
