/* Strikes the strokes of a kept session in time. Knows a Sheet (sheet.js) and the browser's frames; no page, no network.

    const player = asr33.playSheet(element, table, [[t_ms, byte, column], ...], {
      speed: 1,          // times the machine's ten characters a second
      idle: 2000,        // longest silence in ms; Infinity: as it was
      sheet: {},         // options of the Sheet
      onStroke(byte),    // at each stroke that is struck in time; not when the reader jumps
      onTime(ms, isPlaying),
    });
    player.play(); player.pause(); player.toggle(); player.seek(ms); player.step();
    player.seekToStroke(index); player.setSpeed(4); player.setIdle(Infinity);

Times are those of the shortened session: `player.duration`, `player.time`, `player.timeOf(index)`. */
"use strict";
(() => {
  const SMOOTH = 40; // more strokes than that in a frame are drawn together

  class Player {
    constructor(sheet, strokes, options = {}) {
      this.sheet = sheet;
      this.strokes = strokes;
      this.options = { speed: 1, idle: 2000, onStroke: () => {}, onTime: () => {}, ...options };
      this.next = 0; // index of the stroke that is struck next
      this.time = 0;
      this.isPlaying = false;
      this._lastFrame = null;
      this.setIdle(this.options.idle);
    }

    get duration() {
      return this.times.length ? this.times[this.times.length - 1] : 0;
    }

    timeOf(index) {
      return index < this.times.length ? this.times[Math.max(0, index)] : this.duration;
    }

    play() {
      if (this.isPlaying) return;
      if (this.next >= this.strokes.length) this.seek(0);
      this.isPlaying = true;
      this._lastFrame = null;
      this._notify();
      requestAnimationFrame((now) => this._frame(now));
    }

    pause() {
      this.isPlaying = false;
      this._notify();
    }

    toggle() {
      if (this.isPlaying) this.pause();
      else this.play();
    }

    setSpeed(speed) {
      this.options.speed = speed;
      this._notify();
    }

    /* Shortens each silence to at most `idle` ms. */
    setIdle(idle) {
      let at = 0, before = null;
      this.times = this.strokes.map(([t]) => {
        at += before === null ? 0 : Math.min(Math.max(t - before, 0), idle);
        before = t;
        return at;
      });
      this.time = this.timeOf(this.next);
      this._notify();
    }

    seek(ms) {
      let next = 0;
      while (next < this.times.length && this.times[next] <= ms) next++;
      this._show(next);
      this.time = Math.min(Math.max(ms, 0), this.duration);
      this._notify();
    }

    seekToStroke(index) {
      this._show(Math.min(Math.max(index, 0), this.strokes.length));
      this.time = this.timeOf(this.next);
      this._notify();
    }

    step() {
      this.pause();
      if (this.next < this.strokes.length) this._strike();
      this.time = this.timeOf(this.next - 1);
      this._notify();
    }

    _show(next) {
      if (next < this.next) {
        this.sheet.clear();
        this.next = 0;
      }
      this.sheet.feed(this.strokes.slice(this.next, next));
      this.next = next;
    }

    _strike() {
      const [, byte, column] = this.strokes[this.next++];
      this.sheet.strike(byte, column);
      this.options.onStroke(byte);
    }

    _frame(now) {
      if (!this.isPlaying) return;
      this.time += this._lastFrame === null ? 0 : Math.min(now - this._lastFrame, 1000) * this.options.speed;
      this._lastFrame = now;
      let due = this.next;
      while (due < this.times.length && this.times[due] <= this.time) due++;
      if (due - this.next > SMOOTH) this._show(due);
      else while (this.next < due) this._strike();
      if (this.next >= this.strokes.length) {
        this.time = this.duration;
        this.isPlaying = false;
      }
      this._notify();
      requestAnimationFrame((later) => this._frame(later));
    }

    _notify() {
      this.options.onTime(this.time, this.isPlaying);
    }
  }

  function playSheet(host, table, strokes, options = {}) {
    return new Player(new globalThis.asr33.Sheet(host, table, options.sheet), strokes, options);
  }

  globalThis.asr33 = { ...globalThis.asr33, Player, playSheet };
})();
