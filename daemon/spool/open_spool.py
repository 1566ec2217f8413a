"""Makes the spool of a daemon from its configuration and its files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from daemon import paths
from daemon.config import SpoolConfig
from daemon.errors import ConfigError
from daemon.spool.budget import BudgetLimits
from daemon.spool.clock import SpoolClock
from daemon.spool.desk import SpoolDesk
from daemon.spool.paper_count import PaperCount
from daemon.spool.quiet_hours import QuietHours, parse_quiet_rule
from daemon.spool.rules import OWN_SOURCE, SpoolRules, check_pattern, parse_duration
from daemon.spool.spool import Spool
from daemon.spool.store import SpoolStore
from drivers.profile import Profile

LOCAL_TIME = Path("/etc/localtime")
ResultT = TypeVar("ResultT")

_log = logging.getLogger("asr33")


def open_spool(config: SpoolConfig, profile: Profile, port: str, folder: Path | None = None) -> SpoolDesk | None:
    """Returns the spool of the machine at this line; None, with a warning, if its folder cannot be used.

    `folder`: by default the state folder of the user. Raises ConfigError.
    """
    rules = make_rules(config)
    keep_s = _parse("keep", parse_duration, config.keep)
    folder = folder or paths.state_folder()
    if folder is None:
        _log.warning("this user has no home to keep a spool in; set STATE_DIRECTORY; jobs of others are refused")
        return None
    name = paths.line_file_name(port)
    try:
        store = SpoolStore(folder / f"{name}.spool")
        count = PaperCount(folder / f"{name}.paper")
        return SpoolDesk(Spool(rules, count.supply), store, SpoolClock(), count, profile, keep_s)
    except OSError as error:
        _log.warning("%s: %s; jobs of others are refused", error.filename or folder, error.strerror or error)
        return None


def make_rules(config: SpoolConfig) -> SpoolRules:
    """Raises ConfigError."""
    quiet = [_parse("quiet", parse_quiet_rule, text) for text in config.quiet]
    return SpoolRules(
        quiet=QuietHours(quiet, find_zone(config.zone)),
        person_budget=BudgetLimits(config.person_hour, config.person_day),
        source_budget=BudgetLimits(config.source_hour, config.source_day),
        allow=tuple(_parse_all("allow", config.allow)),
        deny=tuple(_parse_all("deny", config.deny)),
        without_budget=frozenset({OWN_SOURCE}),
    )


def find_zone(name: str, local_time: Path = LOCAL_TIME) -> tzinfo:
    """Returns the zone of this name, or of this computer. Raises ConfigError."""
    try:
        if name or os.environ.get("TZ"):
            return ZoneInfo(name or os.environ["TZ"].lstrip(":"))
        with local_time.open("rb") as file:
            return ZoneInfo.from_file(file, key="local time")
    except FileNotFoundError:
        return UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        cure = 'name one such as "Europe/Berlin", and see that tzdata is installed'
        raise ConfigError(f"[spool] zone: no time zone {name or os.environ.get('TZ')!r}: {cure}") from None


def _parse_all(key: str, texts: Iterable[str]) -> list[str]:
    return [_parse(key, check_pattern, text) for text in texts]


def _parse(key: str, parse: Callable[[str], ResultT], text: str) -> ResultT:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"[spool] {key}: {error}") from None
