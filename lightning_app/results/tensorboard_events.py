"""TensorBoard's events, written so that disk trouble never ends a run."""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from lightning_app.files import append

log = logging.getLogger(__name__)


class EventFile:
    """Replaces tensorboard's EventFileWriter.

    That one opens the file by name for each event, in its own thread. If the folder has disappeared or the disk is
    full, the thread dies with a traceback, and every later log is an error. Here, events wait in memory until they are
    flushed, which Lightning does whenever it logs, and keep waiting while they cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting = io.BytesIO()
        self._said = False  # that it cannot be written

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def add_event(self, event: Event) -> None:
        RecordWriter(self._waiting).write(event.SerializeToString())

    def flush(self) -> None:
        try:
            append(self.path, self._beginning() + self._waiting.getvalue())
        except OSError as error:
            if not self._said:
                log.warning(f"{self.path} cannot be written ({error.strerror}); its events are kept for later")
            self._said = True
            return
        self._waiting, self._said = io.BytesIO(), False

    def close(self) -> None:
        """Events of the final test come later, into the same file."""
        self.flush()

    def _beginning(self) -> bytes:
        """The header of a file; empty if the file exists."""
        if self.path.exists() and self.path.stat().st_size:
            return b""
        beginning = io.BytesIO()
        version = Event(wall_time=time.time(), file_version="brain.Event:2")
        RecordWriter(beginning).write(version.SerializeToString())
        return beginning.getvalue()


class RetryingWriter(SummaryWriter):
    """torch's SummaryWriter, on top of an EventFile."""

    def _get_file_writer(self) -> FileWriter:
        writer = super()._get_file_writer()
        if not isinstance(writer.event_writer, EventFile):
            begun = writer.event_writer
            begun.close()
            writer.event_writer = EventFile(Path(begun._file_name))
        return writer

    def close(self) -> None:
        """Keep the file; torch would start another for later logs."""
        self.flush()
