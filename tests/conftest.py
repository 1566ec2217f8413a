"""What every test may rely on, however the suite was started."""

import signal

from hypothesis import settings

# A suite in the background of a shell starts with SIGINT ignored, and so would every process that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow, not wrong.
settings.register_profile("asr33", deadline=None)
settings.load_profile("asr33")
