"""Every finding of `asr33 doctor`: id, severity, sentence and cure in general words, as in docs/doctor.md. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["fault", "notice"]  # a notice: all works as it was told to, and that may not be what you want


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A finding in general words."""

    severity: Severity
    sentence: str
    cure: str


def _fault(sentence: str, cure: str) -> KnownFinding:
    return KnownFinding("fault", sentence, cure)


def _notice(sentence: str, cure: str) -> KnownFinding:
    return KnownFinding("notice", sentence, cure)


_EDIT = "`sudoedit FILE`"
_PIP_CPU = "`pip install '.[cpu]'` in asr33's folder"

CATALOGUE = {
    # The daemon.
    "daemon-silent": _fault("A daemon has its control socket open and does not answer.", "`ps -fp PID`"),
    "daemon-of-another-user": _notice(
        "A daemon of another user has the machine; your configuration does not count for it.",
        "`sudoedit /etc/asr33/config.toml`",
    ),
    "daemon-other-configuration": _notice(
        "The daemon reads other files, variables or options than your commands do.", _EDIT
    ),
    "line-lost": _fault("The daemon waits for its line, which hung up.", "`ls -l /dev/serial/by-id/`"),
    "line-stopped": _notice("The operator stopped the paper with CTRL-S.", "press CTRL-Q at the machine"),
    "line-noisy": _fault("What comes from the line is noise.", "mend the loop, then press BREAK"),
    # Why nothing of the spool prints.
    "quiet-hours": _notice("Quiet hours are in force: nothing of the spool prints.", _EDIT),
    "hush": _notice("The operator asked for silence: nothing of the spool prints.", "type `.HUSH 0` at the machine"),
    "private-time": _notice(
        "The operator's time is private: nothing of the spool prints.", "type `.PUBLIC` at the machine"
    ),
    "spool-clock": _fault(
        "There are quiet hours, and the clock is not set: nothing of the spool prints.",
        "`sudo timedatectl set-ntp true`",
    ),
    "paper-out": _fault("The roll is almost empty: nothing of the spool prints.", "`asr33 roll new LINES`"),
    "paper-low": _notice("The roll ends soon.", "`asr33 roll new LINES`"),
    "jobs-held": _notice("Jobs of the spool are held.", "`asr33 spool release ID`"),
    # The ports.
    "port-absent": _fault("The configured line is not there.", "`ls -l /dev/serial/by-id/`"),
    "adapter-speed": _fault("The adapter's chip cannot do 110 baud.", "take another adapter"),
    "port-denied": _fault("You may not open the port.", "`sudo usermod -aG dialout USER`"),
    "group-not-active": _fault("You are in the port's group, and this login does not know it yet.", "`newgrp dialout`"),
    "port-getty": _fault(
        "A getty is on the line: the model would answer its login prompt.",
        "`sudo systemctl disable --now serial-getty@TTY`",
    ),
    "port-modemmanager": _fault("ModemManager has the port open.", "`sudo systemctl stop ModemManager`"),
    "port-process": _fault("Another process has the port open.", "`ps -fp PID`"),
    "modemmanager-probes": _notice(
        "ModemManager runs and is not told to leave the adapter alone: it may print commands for modems.",
        "`sudo asr33 install --adapter SERIAL`",
    ),
    "loopback-silent": _fault("Nothing came back of what was sent.", "join TXD and RXD, then ask again"),
    "loopback-damaged": _fault("Other characters came back than those that were sent.", "take another adapter"),
    "line-refused": _fault("The line cannot be opened, or does not run at 110 baud.", "`asr33 doctor --line PORT`"),
    "print-failed": _fault("The print test ended with an error.", "`asr33 doctor --line PORT`"),
    # The system.
    "clock-not-set": _fault(
        "No time server has set the clock: times in the log and quiet hours are wrong.",
        "`sudo timedatectl set-ntp true`",
    ),
    "disk-full": _fault("A disk is almost full, so that nothing more is recorded there.", "`df -h FOLDER`"),
    "folder-read-only": _fault("A folder is on a disk that is mounted read-only.", "`findmnt --target FOLDER`"),
    "folder-denied": _fault("You may not write to a folder of asr33.", "`ls -ld FOLDER`"),
    "unit-absent": _notice("No systemd unit of asr33 is installed: nothing starts at boot.", "`sudo asr33 install`"),
    "unit-failed": _fault("A systemd unit of asr33 has failed.", "`journalctl -n 20 -u UNIT`"),
    "configuration-wrong": _fault("The configuration cannot be read.", _EDIT),
    # The engine and the models.
    "engine-absent": _fault("The model is on this computer, and onnxruntime is not installed.", _PIP_CPU),
    "onnxruntime-twice": _fault(
        "Both onnxruntime and onnxruntime-gpu are installed; each overwrites the other's files.",
        "`pip uninstall -y onnxruntime onnxruntime-gpu && pip install '.[gpu]'`",
    ),
    "onnxruntime-empty": _fault(
        "onnxruntime is an empty folder, as the removal of one of its two packages leaves it.",
        "`pip install --force-reinstall onnxruntime`",
    ),
    "gpu-unused": _notice(
        "An NVIDIA GPU is here, and the model cannot use it.",
        "`nvidia-smi`, or `pip uninstall -y onnxruntime onnxruntime-gpu && pip install '.[gpu]'`",
    ),
    "model-absent": _fault("A configured model is not on this disk.", "`asr33 model list`"),
    "model-damaged": _fault("A model's files are damaged.", "`asr33 model pull NAME`"),
    # The server.
    "server-unreachable": _fault("The model server does not answer.", "`curl URL/health`"),
    "server-login-page": _fault(
        "A login page answers in place of the model server.", "`curl -L URL`, then log in to the network with a browser"
    ),
    "server-foreign": _fault("Something else than a model server answers.", _EDIT),
    "server-model-absent": _fault("The server does not have the model.", "`curl URL/v1/models`"),
    "server-key-missing": _fault("The server wants a key, and none is configured.", _EDIT),
    "server-key-refused": _fault("The server refuses the key.", _EDIT),
    "server-key-file": _fault("The key file cannot be read, or has no key in it.", "`sudoedit FILE`"),
    "server-key-readable": _notice("Other users of this computer can read the key.", "`chmod go= FILE`"),
}
