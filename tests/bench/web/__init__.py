"""The web page in Chromium, beside MLflow's."""
