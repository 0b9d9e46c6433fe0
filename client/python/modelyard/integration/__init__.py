"""Callbacks for libraries: `modelyard.integration.xgboost`, `lightgbm`, `keras` and `sb3`.

Each needs its library, which is imported with it.
"""
