"""A recorded sheet as one HTML file that plays by itself: no network, no other file.

It embeds the script and the style of the live page (daemon/web/static), which draw the sheet and strike it in time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files

from drivers.paper.glyphs import glyph_table
from tools.log.recording import SheetRecording, strikes_of, visible_lines

_SHEET_SCRIPTS = ("sheet.js", "player.js")
_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{subtitle}</p></header>
<main id="paper"></main>
<noscript><pre>{text}</pre></noscript>
<nav aria-label="Player">
<button id="play" title="space">Play</button>
<button id="back" title="[">Previous answer</button>
<button id="next" title="]">Next answer</button>
<button id="end">Whole sheet</button>
<input id="at" type="range" min="0" value="0" step="1" aria-label="Time">
<output id="clock">0:00</output>
<label>Speed <select id="speed"><option>0.5<option selected>1<option>2<option>4<option>8<option>16</select></label>
<label><input id="idle" type="checkbox" checked> Shorten silences to 2 s</label>
</nav>
<script type="application/json" id="recording">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def encode_html(recording: SheetRecording) -> bytes:
    """Returns the page. Its policy lets the browser run these scripts alone and load nothing."""
    static, own = files("daemon.web") / "static", files("tools.log.formats")
    script = "\n".join(
        [*((static / name).read_text("utf-8") for name in _SHEET_SCRIPTS), (own / "export_page.js").read_text("utf-8")]
    )
    style = (static / "sheet.css").read_text("utf-8") + (own / "export_page.css").read_text("utf-8")
    policy = f"default-src 'none'; script-src {_source_hash(script)}; style-src {_source_hash(style)}"
    page = _TEMPLATE.format(
        policy=policy,
        title="asr33 session",
        subtitle=escape(_subtitle(recording)),
        style=style,
        script=script,
        text=escape("\n".join(visible_lines(recording))),
        data=_encode_data(recording),
    )
    return page.encode()


def _subtitle(recording: SheetRecording) -> str:
    date = recording.started_at.strftime("%Y-%m-%d %H:%M")
    return f"{date}, model {recording.model}" if recording.model else date


def _encode_data(recording: SheetRecording) -> str:
    """Returns the strokes as JSON inside of HTML: `<` is an escape, since `</script>` would end the element."""
    data = {
        "table": glyph_table(recording.profile),
        "strokes": [[round(strike.start * 1000), strike.byte, strike.column] for strike in strikes_of(recording)],
        "markers": [[round(marker.at_s * 1000), marker.label] for marker in recording.markers],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _source_hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
