/* The live page: the stream strikes the sheet, each stroke at its moment. */
"use strict";
(async () => {
  const { Sheet, Roll, Desk, soundButton, openStream } = asr33;
  const MAX_LINES = 5000;
  const DOING = {
    starting: "starting", listening: "listening", thinking: "thinking", printing: "printing",
    reading: "reading a tape", lent: "printing", leaving: "leaving",
  };
  const $ = (id) => document.getElementById(id);

  const loading = fetch("glyphs", { credentials: "include" }).then((response) => response.json());
  const sound = soundButton($("sound")), roll = new Roll($("window"), $("back")), desk = new Desk();
  const due = []; // strokes that wait for their moment, as [time, byte, column]
  let sheet = null, epoch = "", timer = 0, isLost = false, state = null;

  function strikeDue() {
    timer = 0;
    const now = performance.now();
    let count = 0;
    while (count < due.length && due[count][0] <= now + 1) count++;
    const ready = due.splice(0, count);
    if (ready.length > 20) sheet.feed(ready);
    else for (const [, byte, column] of ready) sheet.strike(byte, column);
    for (const [, byte] of ready.slice(-3)) sound.strike(byte);
    schedule();
  }

  function schedule() {
    if (!timer && due.length) timer = setTimeout(strikeDue, Math.max(0, due[0][0] - performance.now()));
  }

  function strikeLater(strokes) {
    const now = performance.now();
    for (const [byte, column, ms] of strokes) {
      const last = due.length ? due[due.length - 1][0] : 0;
      due.push([Math.max(now + ms, last), byte, column]);
    }
    schedule();
  }

  function showSheet(whole) {
    due.length = 0;
    if (whole.epoch !== epoch) sheet.clear();
    epoch = whole.epoch;
    sheet.load(whole.lines, whole.first, whole.column);
    roll.settle();
  }

  function showState() {
    const word = isLost ? "the page has lost the machine: it tries again"
      : !state ? "connecting"
      : state.private ? "private: what is struck now is on the paper only"
      : state.lost ? "the machine's line is lost"
      : DOING[state.doing] || state.doing;
    $("doing").textContent = word;
    const isBusy = state && ["thinking", "printing", "reading", "lent"].includes(state.doing);
    $("lamp").className = isLost || (state && state.lost) ? "lamp lost" : isBusy ? "lamp lit" : "lamp";
    if (!state) return;
    $("machine").textContent = state.machine || "Teletype";
    $("archive").hidden = !state.archive;
    desk.show(state.typing);
  }

  const handle = {
    sheet: ({ sheet: whole }) => showSheet(whole),
    strokes: ({ strokes }) => strikeLater(strokes),
    state: (message) => (state = message.state),
    lost: () => (isLost = true),
    found: () => (isLost = false),
    denied: () => location.reload(),
  };

  const early = [];
  openStream((message) => (sheet ? receive(message) : early.push(message)));

  function receive(message) {
    handle[message.kind](message);
    if (message.kind !== "strokes") showState();
  }

  sheet = new Sheet($("paper"), await loading, { maxLines: MAX_LINES });
  globalThis.asr33.sheet = sheet;
  roll.watch(sheet);
  early.forEach(receive);
})();
