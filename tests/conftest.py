"""What every test may rely on, however the suite was started."""

import signal

from hypothesis import settings

# A suite in the background of a shell, or under nohup, starts with these ignored, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is slow, not wrong.
settings.register_profile("asr33", deadline=None)
settings.load_profile("asr33")
