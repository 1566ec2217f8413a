"""Judges what is known of the ports: the chip, the permission, the other processes, ModemManager. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.line.serial_chip import Adapter
from drivers.line.tty_holders import TtyHolder
from tools.doctor.finding import NOTHING_READ, Examination, Finding, Unread, conclude, make_finding, not_examined

_GETTYS = ("agetty", "getty", "login")
_SERVICES = {"ModemManager": "ModemManager", "brltty": "brltty", "gpsd": "gpsd.socket gpsd"}  # name: units
_SUDO_HINT = "sudo asr33 doctor sees them"


@dataclass(frozen=True, slots=True)
class PortAccess:
    """Whether `user` may open a port. `in_group`: by the group database; `is_active`: this login has the group."""

    may_open: bool
    user: str
    group: str
    group_may: bool
    in_group: bool
    is_active: bool


@dataclass(frozen=True, slots=True)
class ModemManagerState:
    """`is_told`: udev tells it to ignore the adapter, whose ID_SERIAL is `serial`; None: udev was not read."""

    runs: bool
    is_told: bool | None = None
    serial: str = ""


@dataclass(frozen=True, slots=True)
class PortReading:
    """What was read about one port. `hidden`: processes whose open files this user may not see.

    `tty`: its kernel name. `daemon_pid`: of the daemon that has it, or None. `problem`: why it is no port.
    """

    port: str
    tty: str
    kind: str
    problem: str = ""
    adapter: Adapter | None = None
    access: PortAccess | Unread = NOTHING_READ
    holders: tuple[TtyHolder, ...] = ()
    hidden: int = 0
    daemon_pid: int | None = None
    modem_manager: ModemManagerState | Unread = NOTHING_READ


def examine_port(reading: PortReading) -> list[Examination]:
    """Examines one port in all ways that open nothing."""
    if reading.problem:
        cure = "ls -l /dev/serial/by-id/"
        finding = make_finding("port-absent", f"{reading.port} is no line: {reading.problem}", cure)
        return [conclude("port", reading.port, "the name of the line", [finding])]
    if reading.kind == "socket":
        why = "the line is on the network: the daemon connects to it, and the serial server sets the speed"
        return [not_examined("port", reading.port, why)]
    return [
        conclude("port", reading.port, f"it is there, as {reading.tty}"),
        _examine_chip(reading),
        _examine_access(reading),
        _examine_holders(reading),
        _examine_modem_manager(reading),
    ]


def examine_no_port() -> list[Examination]:
    return [not_examined("port", "", "no line is configured, and this computer shows no serial port: plug it in")]


def _examine_chip(reading: PortReading) -> Examination:
    name, port, adapter = "chip of the adapter", reading.port, reading.adapter
    if adapter is None:
        why = "a pty has no chip" if reading.kind == "pty" else "the kernel shows no device behind it"
        return not_examined(name, port, why)
    examined = f"driver {adapter.driver or 'unknown'}, USB {adapter.usb or 'none'}; its speed was not measured"
    match adapter.chip.can_110:
        case None:
            return not_examined(name, port, f"{adapter.name} may do 110 baud or not, {adapter.chip.why}")
        case False:
            sentence = f"{port}: {adapter.name} cannot do 110 baud, {adapter.chip.why}"
            return conclude(name, port, examined, [make_finding("adapter-speed", sentence, adapter.chip.cure)])
        case True:
            return conclude(name, port, examined)


def _examine_access(reading: PortReading) -> Examination:
    name, port, access = "permission", reading.port, reading.access
    if reading.daemon_pid is not None:
        if any(holder.pid == reading.daemon_pid for holder in reading.holders):
            return conclude(name, port, f"open files: the daemon (process {reading.daemon_pid}) has it open")
        return not_examined(name, port, f"it is for the daemon (process {reading.daemon_pid}) to open")
    if isinstance(access, Unread):
        return not_examined(name, port, access.why)
    examined = f"user {access.user}, group {access.group} of the port"
    return conclude(name, port, examined, [None if access.may_open else _access_finding(port, access)])


def _access_finding(port: str, access: PortAccess) -> Finding:
    user, group = access.user, access.group
    if not access.group_may or group == "root":
        sentence = f"{user} may not open {port}, and the port's group ({group}) does not help"
        return make_finding("port-denied", sentence, f"sudo chgrp dialout {port} && sudo chmod g+rw {port}")
    if access.in_group and not access.is_active:
        sentence = f"{user} is in the group {group} of {port}, and this login does not know it yet"
        return make_finding("group-not-active", sentence, f"newgrp {group}")
    sentence = f"{user} may not open {port}: it takes the group {group}"
    return make_finding("port-denied", sentence, f"sudo usermod -aG {group} {user}")


def _examine_holders(reading: PortReading) -> Examination:
    name, port = "other processes on the line", reading.port
    others = [holder for holder in reading.holders if holder.pid != reading.daemon_pid]
    examined = "open files and terminals in /proc"
    why_not = ""
    if reading.hidden:
        why_not = f"{reading.hidden} processes of other users hide their files: {_SUDO_HINT}"
    return conclude(name, port, examined, [_holder_finding(reading, holder) for holder in others], why_not)


def _holder_finding(reading: PortReading, holder: TtyHolder) -> Finding:
    sentence = f"{reading.port}: {holder.name} (process {holder.pid}) is on the line"
    if holder.name in _GETTYS:
        cure = f"sudo systemctl disable --now serial-getty@{reading.tty}"
        return make_finding("port-getty", f"{sentence}, and the model would answer its login prompt", cure)
    if (units := _SERVICES.get(holder.name)) is None:
        return make_finding("port-process", sentence, f"ps -fp {holder.pid}   # then end it in its own way")
    finding_id = "port-modemmanager" if holder.name == "ModemManager" else "port-process"
    return make_finding(finding_id, sentence, f"sudo systemctl stop {units}")


def _examine_modem_manager(reading: PortReading) -> Examination:
    name, port, state = "ModemManager", reading.port, reading.modem_manager
    if isinstance(state, Unread):
        return not_examined(name, port, state.why)
    if not state.runs:
        return conclude(name, port, "the names of all processes: it does not run")
    if reading.adapter is None or not reading.adapter.usb:
        return conclude(name, port, "it runs, and looks at USB adapters alone, which this is not")
    if state.is_told is None:
        return not_examined(name, port, "udev's database cannot be read")
    cure = f"sudo asr33 install --adapter {state.serial}" if state.serial else "sudo systemctl stop ModemManager"
    sentence = f"ModemManager runs and may send commands for modems to {port}, which the machine prints"
    finding = None if state.is_told else make_finding("modemmanager-probes", sentence, cure)
    return conclude(name, port, "ID_MM_DEVICE_IGNORE in udev's database", [finding])
