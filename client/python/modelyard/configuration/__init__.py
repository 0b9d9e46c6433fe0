"""Settings, API keys, certificates and addresses of servers."""
