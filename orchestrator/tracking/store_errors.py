"""Explains the errors of a tracking store in one line each; MLflow's own lines are kept off the terminal."""

from __future__ import annotations

import logging
import os

from mlflow.exceptions import MlflowException

from results.record.store_address import public

REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")


def quieten() -> None:
    """Keep MLflow's own lines off the terminal and its requests short, because we retry ourselves after reading what was done."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs tracebacks of what we say in one line
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def is_refusal(error: Exception) -> bool:
    """Return whether an error says that the store refuses a request, however often it is tried."""
    return isinstance(error, MlflowException) and error.error_code in REFUSALS


def is_timeout(error: Exception) -> bool:
    """Return whether an error says that the store took a request and did not answer in time."""
    return "timed out" in str(error)


def explain(error: Exception) -> str:
    """Return one line for the user about an error of the store, with what to do about it."""
    text = (str(error) or type(error).__name__).strip()
    if "error code 401" in text or "401 Unauthorized" in text:
        return (
            "it refuses the user name or password; give them as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD,"
            " or in the address as user:password@"
        )
    if "error code 403" in text or "PERMISSION_DENIED" in text:
        return "this user may not write there: " + text.splitlines()[0][:200]
    if "file is not a database" in text or "disk image is malformed" in text:
        return "the file is not a database any more; move it away, and 'alphacl track NAME' writes a sweep anew from its folder"
    if any(reason in text for reason in ("Max retries exceeded", "Connection aborted", "Connection refused", "timed out")):
        return f"nothing answers there ({'it timed out' if 'timed out' in text else 'no connection'}); see --tracking-uri"
    return public(text.splitlines()[0])[:300] + "; see --tracking-uri"
