"""Callbacks for libraries, in a module for each, which needs its library."""
