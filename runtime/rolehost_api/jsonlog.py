"""Logs as lines of JSON in UTF-8 on stdout: one shape for every process of the platform.

Messages never carry content, and of an exception only its type and place are told: its
text may quote a conversation or a manifest.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

TRACE: ContextVar[tuple[str, str] | None] = ContextVar("trace", default=None)
"""Of the turn that this is done for, where it is traced: the trace's id and its first span's, in hex."""


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe(record)[:4096],
        }
        if (trace := TRACE.get()) is not None:
            line["trace_id"], line["span_id"] = trace
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["where"] = _where(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def _where(trace: TracebackType | None) -> str:
    """file:line of the innermost frame."""
    last = "?"
    while trace is not None:
        last, trace = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}", trace.tb_next
    return last


def _safe(record: logging.LogRecord) -> str:
    """The message; of asyncio's only its first line: the others show tasks with their exceptions, which may quote
    a conversation."""
    message = record.getMessage()
    return message.partition("\n")[0] if record.name == "asyncio" else message


def to_stdout(level: str) -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
