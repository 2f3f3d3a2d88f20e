"""The view of a sweep in MLflow: a process that follows the sweep folder, and the rebuild of a whole sweep from it."""
