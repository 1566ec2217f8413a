/* The page of `asr33 log export --format html`: the buttons and keys around the player of daemon/web/static. */
"use strict";
(() => {
  const IDLE_MS = 2000;
  const get = (id) => document.getElementById(id);
  const { table, strokes, markers } = JSON.parse(get("recording").textContent);
  let player = null; // show is called while it is made
  player = asr33.playSheet(get("paper"), table, strokes, { idle: IDLE_MS, onTime: show });
  // The stroke with which each answer begins.
  const starts = markers.map(([t]) => strokes.findIndex((stroke) => stroke[0] >= t)).filter((index) => index >= 0);

  function clock(ms) {
    const seconds = Math.floor(ms / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  let lastTop = -1;
  function show(ms, isPlaying) {
    if (!player) return;
    get("play").textContent = isPlaying ? "Pause" : "Play";
    get("at").max = player.duration;
    get("at").value = ms;
    get("clock").textContent = `${clock(ms)} / ${clock(player.duration)}`;
    if (isPlaying) followPaper();
  }

  /* Keeps the line being struck in view, unless the reader has scrolled up. */
  function followPaper() {
    const page = document.documentElement;
    if (lastTop < 0 || page.scrollTop >= lastTop - 40) {
      page.scrollTop = page.scrollHeight;
      lastTop = page.scrollTop;
    }
  }

  function goTo(step) {
    const before = player.next - 10; // a second later, [ goes to the answer before
    const index = step > 0 ? starts.find((start) => start > player.next) : starts.findLast((start) => start < before);
    player.seekToStroke(index ?? (step > 0 ? strokes.length : 0));
    lastTop = -1;
    followPaper();
  }

  const actions = {
    " ": () => player.toggle(),
    ".": () => player.step(),
    "[": () => goTo(-1),
    "]": () => goTo(1),
    "1": () => setSpeed(1),
    "+": () => setSpeed(player.options.speed * 2),
    "-": () => setSpeed(player.options.speed / 2),
  };

  function setSpeed(speed) {
    player.setSpeed(Math.min(Math.max(speed, 0.5), 16));
    get("speed").value = String(player.options.speed);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("button, input, select")) return;
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  get("play").addEventListener("click", actions[" "]);
  get("back").addEventListener("click", actions["["]);
  get("next").addEventListener("click", actions["]"]);
  get("end").addEventListener("click", () => {
    player.pause();
    player.seekToStroke(strokes.length);
  });
  get("at").addEventListener("input", (event) => player.seek(Number(event.target.value)));
  get("speed").addEventListener("change", (event) => setSpeed(Number(event.target.value)));
  get("idle").addEventListener("change", (event) => player.setIdle(event.target.checked ? IDLE_MS : Infinity));

  globalThis.asr33.exportedPlayer = player; // for the console
  show(0, false);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) player.seekToStroke(strokes.length);
  else player.play();
})();
