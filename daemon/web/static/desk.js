/* The visitor's desk: a line to type, the keys BREAK, HERE IS and RUBOUT, who answers, and how warm. */
"use strict";
(() => {
  const WORDS = [[0.35, "strict"], [0.65, "sober"], [0.95, "lively"], [1.35, "wild"], [Infinity, "manic"]];
  const $ = (id) => document.getElementById(id);

  class Desk {
    constructor() {
      this.form = $("desk");
      this.line = $("line");
      this.answerback = "";
      this.isSet = false;
      this.begun = 0; // lines of all visitors that the machine has begun to type
      this.waitsFor = 0;
      this.form.addEventListener("submit", (event) => this._submit(event));
      $("break").addEventListener("click", () => this._post("break", {}));
      $("here-is").addEventListener("click", () => this._insert(this.answerback));
      $("rubout").addEventListener("click", () => this._rubOut());
      $("temperature").addEventListener("input", () => this._showTemperature());
    }

    /* Follows the state: `typing` is null while visitors may only read. */
    show(typing) {
      this.form.hidden = !typing;
      $("reading").hidden = Boolean(typing);
      if (!typing) return;
      this.line.maxLength = typing.limit;
      this.answerback = typing.answerback;
      this._showPersonas(typing.personas);
      if (!this.isSet) $("temperature").value = typing.temperature;
      this.isSet = true;
      this._showTemperature();
      this.begun = typing.begun;
      this._endWait();
    }

    _showPersonas(names) {
      const select = $("persona"), shown = [...select.options].map((option) => option.value);
      $("persona-box").hidden = names.length < 2;
      if (names.length === shown.length && names.every((name) => shown.includes(name))) return;
      const chosen = select.value;
      select.replaceChildren(...names.map((name) => new Option(name || "the text goes on", name)));
      if (shown.includes(chosen) && names.includes(chosen)) select.value = chosen;
    }

    _showTemperature() {
      const value = Number($("temperature").value), [, word] = WORDS.find(([limit]) => value < limit);
      $("temperature-word").textContent = `${value.toFixed(1)} ${word}`;
    }

    async _submit(event) {
      event.preventDefault();
      const line = this.line.value;
      if (!line.trim()) return;
      const fields = { line, temperature: Number($("temperature").value) };
      if (!$("persona-box").hidden) fields.persona = $("persona").value;
      const answer = await this._post("type", fields);
      if (!answer) return;
      if (this.line.value === line) this.line.value = "";
      this._tell("Your line is typed when the machine is free.");
      this.waitsFor = answer.number;
      this._endWait(); // the state may have come before the reply
    }

    /* Takes the notice away when the machine has begun to type the visitor's last line. */
    _endWait() {
      if (!this.waitsFor || this.begun < this.waitsFor) return;
      this.waitsFor = 0;
      this._tell("");
    }

    /* Posts fields; returns the answer, or null after the visitor was told what is wrong. */
    async _post(address, fields) {
      try {
        const headers = { "Content-Type": "application/json", "X-ASR33": "1" };
        const response = await fetch(address, { method: "POST", headers, body: JSON.stringify(fields) });
        const answer = response.status === 204 ? {} : await response.json();
        this._tell(response.ok ? "" : answer.error);
        return response.ok ? answer : null;
      } catch {
        this._tell("The page has lost the machine: try again in a moment.");
        return null;
      }
    }

    _insert(text) {
      const { line } = this;
      if (line.value.length + text.length <= line.maxLength) {
        line.setRangeText(text, line.selectionStart, line.selectionEnd, "end");
      }
      line.focus();
    }

    _rubOut() {
      const { line } = this, end = line.selectionEnd;
      line.setRangeText("", line.selectionStart === end ? Math.max(0, end - 1) : line.selectionStart, end, "end");
      line.focus();
    }

    _tell(text) {
      $("notice").textContent = text;
    }
  }

  globalThis.asr33 = { ...globalThis.asr33, Desk };
})();
