/* The sheet of a Model 33, drawn in a browser as the machine prints it. No network, no clock, no sound, no inline style.

Use (the live page, the archive player and the HTML export do it alike; sheet.css belongs to it):

    const sheet = new asr33.Sheet(element, table);   // table: drivers.paper.glyphs.glyph_table(profile) as JSON
    sheet.strike(byte, column);                      // one byte; column: where it is struck, null: where the carriage is
    sheet.feed([[t_ms, byte, column], ...]);         // many at once, without regard to t_ms
    sheet.load(lines, first);                        // the lines of a sheet; in a line "\r" begins another pass
    sheet.clear();

    asr33.drawSheet(element, table, strokes)         // a sheet with all of these strokes; returns the Sheet
    asr33.playSheet(element, table, strokes, options)   // the same sheet, struck in time: see player.js

A finished line stands once as text, for selection, search and screen readers; its ink is drawn behind the text. Each
strike is a little uneven. The hand is seeded by the position, so the same strokes always give the same sheet. */
"use strict";
(() => {
  const BAND = 16; // lines of paper to one canvas
  const VARIANTS = 8; // impressions of one glyph
  const INK = [12, 9, 16]; // as drivers/paper/paper_png.py has it
  const BEL = 0x07, LF = 0x0a, CR = 0x0d, RUBOUT = 0x7f;

  /* Returns a number from 0 to 1 that depends on the position alone. */
  function noise(x, y, z) {
    let h = (Math.imul(x, 0x9e3779b1) ^ Math.imul(y, 0x85ebca6b) ^ Math.imul(z, 0xc2b2ae35)) >>> 0;
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
    return ((h ^ (h >>> 15)) >>> 0) / 4294967296;
  }

  /* The force of the hammer wanders slowly along the line: noise between knots six columns apart. */
  function force(row, column) {
    const knot = Math.floor(column / 6), part = column / 6 - knot;
    return noise(row, knot, 7) * (1 - part) + noise(row, knot + 1, 7) * part;
  }

  /* The glyphs of the type wheel at one size, in device pixels, each in several impressions of an inked ribbon. */
  class Typeface {
    constructor(table, columnPx, linePx) {
      this.table = table;
      this.columnPx = columnPx;
      this.linePx = linePx;
      this.pad = Math.ceil(linePx / 12) + 1;
      this.images = new Map();
    }

    image(glyph, variant) {
      const key = glyph + variant;
      if (!this.images.has(key)) this.images.set(key, this._ink(glyph, variant));
      return this.images.get(key);
    }

    _ink(glyph, variant) {
      const { table, pad } = this;
      const canvas = document.createElement("canvas");
      canvas.width = this.columnPx + 2 * pad;
      canvas.height = this.linePx + 2 * pad;
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      const code = glyph.charCodeAt(0), xScale = this.columnPx / table.width, yScale = this.linePx / table.height;
      // A glyph sits a little high or low on its wheel, always the same; the carriage stops a little early or late.
      const dx = (noise(code, variant, 1) - 0.5) * this.columnPx * 0.07;
      const dy = ((noise(code, 0, 2) - 0.5) * 0.035 + (noise(code, variant, 3) - 0.5) * 0.015) * this.linePx;
      pen.lineWidth = table.pen * yScale * (0.94 + 0.12 * noise(code, variant, 4));
      pen.lineCap = pen.lineJoin = "round";
      pen.strokeStyle = `rgb(${INK})`;
      pen.beginPath();
      for (const stroke of table.glyphs[glyph] || []) {
        for (let i = 0; i < stroke.length; i += 2) {
          const x = pad + dx + stroke[i] * xScale, y = pad + dy + stroke[i + 1] * yScale;
          if (i) pen.lineTo(x, y);
          else pen.moveTo(x, y);
        }
      }
      pen.stroke();
      this._wear(pen, canvas, code * VARIANTS + variant);
      return canvas;
    }

    /* Takes the weave of the ribbon and its worn places out of the ink. */
    _wear(pen, canvas, seed) {
      const pixels = pen.getImageData(0, 0, canvas.width, canvas.height), size = this.linePx / 24;
      for (let y = 0, i = 3; y < canvas.height; y++) {
        for (let x = 0; x < canvas.width; x++, i += 4) {
          if (!pixels.data[i]) continue;
          const grain = noise(Math.floor(x / size), Math.floor(y / size), seed);
          const wear = noise(Math.floor(x / size / 5), Math.floor(y / size / 4), seed + 1);
          pixels.data[i] *= 1 - 0.24 * grain * grain - 0.1 * wear;
        }
      }
      pen.putImageData(pixels, 0, 0);
    }
  }

  class Sheet {
    /* options: maxLines, of which the oldest go; label, for screen readers; onLine(text, row), when a line is done. */
    constructor(host, table, options = {}) {
      this.table = table;
      this.options = { maxLines: Infinity, label: "The paper", onLine: () => {}, ...options };
      this.root = document.createElement("div");
      this.root.className = "sheet";
      this.log = document.createElement("div");
      this.log.className = "sheet-lines";
      this.log.setAttribute("role", "log");
      this.log.setAttribute("aria-label", this.options.label);
      this.carriage = document.createElement("div");
      this.carriage.className = "sheet-carriage";
      this.carriage.setAttribute("aria-hidden", "true");
      this.ruler = document.createElement("span");
      this.ruler.className = "sheet-ruler";
      this.ruler.textContent = "0".repeat(100);
      this.ruler.setAttribute("aria-hidden", "true");
      this.body = document.createElement("div"); // as wide as the columns
      this.body.className = "sheet-body";
      this.body.append(this.log, this.carriage, this.ruler);
      this.root.append(this.body);
      host.append(this.root);
      this._visible = new Set();
      this._watcher = new IntersectionObserver((seen) => this._onSeen(seen), { rootMargin: "600px 0px" });
      this.clear();
      this._measure();
      new ResizeObserver(() => this._measure()).observe(this.root);
    }

    clear() {
      this._watcher.disconnect();
      this._visible.clear();
      this.log.replaceChildren();
      this.bands = [];
      this.first = 0; // number of the oldest line that is still here
      this.rows = []; // each an array of cells: strings with all glyphs struck there, in order
      this.column = 0;
      this._addRow();
      this._placeCarriage();
    }

    /* Number of lines, with those that are gone. */
    get end() {
      return this.first + this.rows.length;
    }

    /* Strikes a byte and draws it at once. */
    strike(byte, column = null) {
      const row = this.end - 1, struck = this._strike(byte, column);
      if (struck) this._drawGlyph(struck.glyph, row, struck.column, struck.nth);
      else if (this.table.auto_return && this.end - 1 > row) this._redrawFrom(row);
      this._placeCarriage();
    }

    /* Strikes many bytes, each [t_ms, byte, column]; the ink is drawn at the end. */
    feed(strokes) {
      const from = this.end - 1;
      for (const [, byte, column] of strokes) this._strike(byte, column);
      this._redrawFrom(from);
      this._placeCarriage();
    }

    /* Shows these lines, numbered from `first`. Lines that are the same already stay as they are. */
    load(lines, first = 0, column = null) {
      let same = 0;
      if (first > this.first && first < this.end) this._dropOldest(first - this.first);
      if (first === this.first) {
        while (same < this.rows.length && same < lines.length && passesOf(this.rows[same]) === lines[same]) same++;
      }
      if (same < this.rows.length - 1 || first !== this.first) {
        this.clear();
        this.first = first;
        same = 0;
      }
      this.log.setAttribute("aria-busy", "true"); // the whole sheet is no news
      for (let i = same; i < lines.length; i++) {
        if (i >= this.rows.length) this._addRow();
        this.rows[i] = cellsOf(lines[i]);
        if (i < lines.length - 1) this._finishRow();
      }
      this.column = column ?? this.column;
      this.log.removeAttribute("aria-busy");
      this._redrawFrom(this.first + same);
      this._placeCarriage();
    }

    /* Returns the text of a line, as drivers.paper.Paper.text does. */
    textOf(row) {
      const arrows = this.table.wheel === "1963" ? { "^": "↑", _: "←" } : {};
      const text = (this.rows[row - this.first] || []).map((cell) => (cell || "").replaceAll(" ", "").slice(-1) || " ");
      return text.map((glyph) => arrows[glyph] || glyph).join("").trimEnd();
    }

    /* Moves the paper and the carriage; returns the glyph that left ink, its column and how many are below it. */
    _strike(byte, column) {
      const { table } = this;
      byte &= 0x7f;
      if (column !== null && column !== undefined) this.column = column;
      if (byte === CR) {
        this.column = 0;
        if (table.return_feeds) this._feedLine();
      } else if (byte === LF) {
        this._feedLine();
        if (table.feed_returns) this.column = 0;
      }
      if (byte < 0x20 || byte === RUBOUT) return null;
      const glyph = String.fromCharCode(byte < 0x60 ? byte : byte - 0x20);
      const cells = this.rows[this.rows.length - 1], at = Math.min(this.column, table.columns - 1);
      while (cells.length <= at) cells.push("");
      const nth = cells[at].length;
      cells[at] += glyph;
      this.column = Math.min(this.column + 1, table.columns);
      if (table.auto_return && this.column === table.columns) {
        this.column = 0;
        this._feedLine();
        return null; // drawn with its line
      }
      return glyph === " " ? null : { glyph, column: at, nth };
    }

    _feedLine() {
      this._finishRow();
      this._addRow();
      if (this.rows.length > this.options.maxLines + BAND) this._dropOldest(BAND);
    }

    /* Writes the text of the last line: it is done, and changes no more. */
    _finishRow() {
      const row = this.end - 1, text = this.textOf(row);
      this.bands[this.bands.length - 1].element.lastElementChild.textContent = text;
      this.options.onLine(text, row);
    }

    _addRow() {
      let band = this.bands[this.bands.length - 1];
      if (!band || band.count === BAND) {
        const element = document.createElement("div");
        element.className = "sheet-band";
        band = { element, first: this.end, count: 0, canvas: null };
        element.band = band;
        this.bands.push(band);
        this.log.append(element);
        this._watcher.observe(element);
      }
      this.rows.push([]);
      band.count++;
      const line = document.createElement("div");
      line.className = "sheet-line";
      band.element.append(line);
      if (this.linePx) this._sizeBand(band);
    }

    _dropOldest(count) {
      while (count >= this.bands[0].count && this.bands.length > 1) {
        const band = this.bands.shift();
        this._watcher.unobserve(band.element);
        this._visible.delete(band);
        band.element.remove();
        this.rows.splice(0, band.count);
        this.first += band.count;
        count -= band.count;
      }
    }

    /* Sizes: a column is a whole number of device pixels, so that all glyphs are equally sharp. */
    _measure() {
      const scale = window.devicePixelRatio || 1, style = getComputedStyle(this.root);
      const width = this.root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      const columnPx = Math.max(3, Math.floor((width * scale) / this.table.columns));
      if (width <= 0 || (columnPx === this.columnPx && scale === this.scale)) return;
      this.columnPx = columnPx;
      this.linePx = Math.round((columnPx * this.table.height * this.table.pitch) / (this.table.width * 10));
      this.scale = scale;
      this.type = new Typeface(this.table, this.columnPx, this.linePx);
      const set = (name, value) => this.root.style.setProperty(name, `${value}px`);
      set("--column", columnPx / scale);
      set("--line", this.linePx / scale);
      set("--width", (columnPx * this.table.columns) / scale);
      set("--letter", columnPx / scale / 0.62);
      set("--spacing", 0);
      set("--spacing", columnPx / scale - this.ruler.getBoundingClientRect().width / 100);
      for (const band of this.bands) this._sizeBand(band);
      this._redrawFrom(this.first);
      this._placeCarriage();
    }

    _sizeBand(band) {
      band.element.style.height = `${(band.count * this.linePx) / this.scale}px`;
    }

    _onSeen(seen) {
      for (const { target, isIntersecting } of seen) {
        if (isIntersecting) {
          this._visible.add(target.band);
          this._drawBand(target.band);
        } else {
          this._visible.delete(target.band);
          if (target.band.canvas) target.band.canvas.remove();
          target.band.canvas = null;
        }
      }
    }

    _redrawFrom(row) {
      for (const band of this._visible) if (band.first + band.count > row) this._drawBand(band);
    }

    _drawBand(band) {
      if (!this.type) return;
      const { columnPx, linePx, scale } = this, width = (this.table.columns + 2) * columnPx, height = BAND * linePx;
      if (!band.canvas || band.canvas.width !== width || band.canvas.height !== height) {
        if (band.canvas) band.canvas.remove();
        band.canvas = document.createElement("canvas");
        band.canvas.width = width;
        band.canvas.height = height;
        band.canvas.setAttribute("aria-hidden", "true");
        band.canvas.style.width = `${width / scale}px`;
        band.canvas.style.height = `${height / scale}px`;
        band.element.prepend(band.canvas);
      } else {
        band.canvas.getContext("2d").clearRect(0, 0, width, height);
      }
      for (let row = band.first; row < band.first + band.count; row++) {
        const cells = this.rows[row - this.first];
        for (let column = 0; column < cells.length; column++) {
          const cell = cells[column];
          for (let nth = 0; nth < cell.length; nth++) this._drawGlyph(cell[nth], row, column, nth, band);
        }
      }
    }

    _drawGlyph(glyph, row, column, nth, band = this.bands[this.bands.length - 1]) {
      if (!band.canvas || glyph === " ") return;
      const pen = band.canvas.getContext("2d"), { pad } = this.type, seed = column + 200 * nth;
      const image = this.type.image(glyph, Math.floor(noise(row, seed, 11) * VARIANTS));
      pen.globalAlpha = Math.min(0.98, 0.76 + 0.17 * force(row, column) + 0.09 * (noise(row, seed, 12) - 0.5));
      pen.drawImage(image, (column + 1) * this.columnPx - pad, (row - band.first) * this.linePx - pad);
    }

    _placeCarriage() {
      if (!this.scale) return;
      const x = Math.min(this.column, this.table.columns - 1) * this.columnPx, y = this.rows.length * this.linePx;
      this.carriage.style.transform = `translate(${x / this.scale}px, ${y / this.scale}px)`;
    }
  }

  /* Returns the cells of a line whose passes over the paper are separated by "\r". */
  function cellsOf(line) {
    const cells = [];
    for (const pass of line.split("\r")) {
      for (let column = 0; column < pass.length; column++) {
        while (cells.length <= column) cells.push("");
        if (pass[column] !== " ") cells[column] += pass[column];
      }
    }
    return cells;
  }

  /* Returns the passes of a line, without blanks at their ends: the reverse of cellsOf. */
  function passesOf(cells) {
    const passes = [];
    cells.forEach((cell, column) => {
      [...cell.replaceAll(" ", "")].forEach((glyph, nth) => {
        passes[nth] = (passes[nth] || "").padEnd(column) + glyph;
      });
    });
    return passes.join("\r");
  }

  function drawSheet(host, table, strokes, options) {
    const sheet = new Sheet(host, table, options);
    sheet.feed(strokes);
    return sheet;
  }

  globalThis.asr33 = { ...globalThis.asr33, Sheet, drawSheet, BEL, LF, CR };
})();
