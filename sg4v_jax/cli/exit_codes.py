"""Exit codes of `sg4v`; 0 is done, 1 a bug."""

BAD_INPUT = 2
STOPPED = 3  # a run that was asked to stop before its end, and saved
HOST_LOST = 4  # another process of the run is gone or hangs: start all again
INTERRUPTED = 130
