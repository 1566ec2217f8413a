/* The stream of the paper, shared by all tabs of a browser: HTTP/1.1 allows six connections to a host, and each tab of
its own stream would take one.

As a SharedWorker it holds the one EventSource, and repeats to each new tab the sheet and what came after it. A browser
without SharedWorker (some phones) runs it in the page: asr33.openStream(callback) does the right one. There a hidden tab
gives its connection back, and gets what it missed when it is seen again. Messages:

    {kind: "sheet", sheet: {epoch, first, column, lines}}    {kind: "strokes", strokes: [[byte, column, ms], ...]}
    {kind: "state", state}    {kind: "lost"}    {kind: "found"}    {kind: "denied"} */
"use strict";
(() => {
  const RETRY_MS = 2000, MAX_LOG = 20000;
  const isWorker = typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope;
  const base = isWorker ? new URL("..", self.location.href) : new URL(".", document.baseURI);

  class Stream {
    constructor(send) {
      this.send = send;
      this.sheet = null; // the last whole sheet, and what came after it
      this.strokes = [];
      this.state = null;
      this.isLost = false;
      this.open();
    }

    open() {
      this.close();
      const source = (this.source = new EventSource(new URL("events", base)));
      source.addEventListener("open", () => this._found());
      source.addEventListener("error", () => this._onError(source));
      source.addEventListener("sheet", ({ data }) => {
        this.sheet = JSON.parse(data);
        this.strokes = [];
        this.send({ kind: "sheet", sheet: this.sheet });
      });
      source.addEventListener("strokes", ({ data }) => {
        const strokes = JSON.parse(data);
        this.strokes.push(...strokes);
        this.send({ kind: "strokes", strokes });
      });
      source.addEventListener("state", ({ data }) => {
        this.state = JSON.parse(data);
        this.send({ kind: "state", state: this.state });
      });
    }

    close() {
      if (this.source) this.source.close();
    }

    /* Tells a new tab all that the others know. A long log is replaced by a fresh sheet, for all. */
    repeat(send) {
      if (this.strokes.length > MAX_LOG) {
        this.open();
        return;
      }
      if (this.sheet) send({ kind: "sheet", sheet: this.sheet });
      if (this.strokes.length) send({ kind: "strokes", strokes: this.strokes.map(([byte, column]) => [byte, column, 0]) });
      if (this.state) send({ kind: "state", state: this.state });
      if (this.isLost) send({ kind: "lost" });
    }

    _found() {
      if (this.isLost) this.send({ kind: "found" });
      this.isLost = false;
    }

    /* A browser reconnects by itself, but not after an answer that is no stream, such as a proxy's 502. */
    async _onError(source) {
      if (source !== this.source) return;
      if (!this.isLost) this.send({ kind: "lost" });
      this.isLost = true;
      if (source.readyState !== EventSource.CLOSED) return;
      const status = await fetch(new URL("glyphs", base), { cache: "no-store" }).then((r) => r.status, () => 0);
      if (status === 401) this.send({ kind: "denied" });
      else setTimeout(() => source === this.source && this.open(), RETRY_MS);
    }
  }

  if (isWorker) {
    const ports = new Set();
    const stream = new Stream((message) => ports.forEach((port) => port.postMessage(message)));
    self.onconnect = ({ ports: [port] }) => {
      port.onmessage = ({ data }) => {
        if (data === "leave") ports.delete(port);
        if (data === "join" && !ports.has(port)) {
          ports.add(port);
          stream.repeat((message) => port.postMessage(message));
        }
      };
    };
    return;
  }

  function openStream(callback) {
    if (typeof SharedWorker === "undefined") {
      const stream = new Stream(callback);
      document.addEventListener("visibilitychange", () => (document.hidden ? stream.close() : stream.open()));
      return;
    }
    const { port } = new SharedWorker(new URL("static/stream.js", base), "asr33");
    port.onmessage = ({ data }) => callback(data);
    port.postMessage("join");
    window.addEventListener("pagehide", () => port.postMessage("leave"));
    window.addEventListener("pageshow", ({ persisted }) => persisted && port.postMessage("join"));
  }

  globalThis.asr33 = { ...globalThis.asr33, openStream };
})();
