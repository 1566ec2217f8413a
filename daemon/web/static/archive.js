/* The archive: a list of sessions, and each of them struck again in time. */
"use strict";
(() => {
  const { Sheet, Player, Roll, soundButton } = asr33;
  const IDLE_MS = 2000;
  const $ = (id) => document.getElementById(id);
  const sound = soundButton($("sound")), roll = new Roll($("window"), $("back"));
  let player = null, turns = [], oldest = "", isSeeking = false;

  const length = (seconds) => {
    const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
    const tail = String(whole % 60).padStart(2, "0");
    return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
  };
  const moment = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

  async function getJson(address) {
    const response = await fetch(address);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  async function listSessions() {
    const { sessions, more } = await getJson(`sessions?before=${encodeURIComponent(oldest)}`);
    for (const session of sessions) {
      const item = document.createElement("li"), link = document.createElement("a");
      const parts = [["b", moment(session.started)], ["span", session.line || "no line was answered"],
        ["span", `${length(session.seconds)}   ${session.model}`]];
      for (const [name, text] of parts) {
        const part = document.createElement(name);
        part.textContent = text;
        link.append(part);
      }
      link.href = `#${session.id}`;
      item.append(link);
      $("sessions").append(item);
      oldest = session.id;
    }
    $("more").hidden = !more;
    if (!$("sessions").children.length) $("about").textContent = "There are no sessions yet.";
    markCurrent();
  }

  const currentId = () => decodeURIComponent(location.hash.slice(1));

  function markCurrent() {
    for (const link of document.querySelectorAll("#sessions a")) {
      link.setAttribute("aria-current", String(link.hash === location.hash));
    }
  }

  async function openSession() {
    const id = currentId();
    markCurrent();
    if (!id) return;
    if (player) player.pause();
    $("about").textContent = "loading";
    const session = await getJson(`sessions/${encodeURIComponent(id)}`);
    if (id !== currentId()) return;
    $("paper").replaceChildren();
    const sheet = new Sheet($("paper"), session.table, { label: "The paper of the session" });
    roll.isFollowing = true;
    roll.watch(sheet);
    turns = session.turns;
    const options = { idle: $("idle").checked ? IDLE_MS : Infinity, speed: Number($("speed").value) };
    player = new Player(sheet, session.strokes, { ...options, onStroke: (byte) => sound.strike(byte), onTime: showTime });
    const cut = session.is_whole ? "" : ", its beginning";
    $("about").textContent = `${moment(session.started)}, ${session.model}, ${length(session.seconds)}${cut}`;
    $("controls").hidden = false;
    showTrack();
    player.seek(0);
    player.play();
    globalThis.asr33.player = player;
  }

  function showTrack() {
    $("seek").max = Math.ceil(player.duration);
    $("length").textContent = length(player.duration / 1000);
    $("marks").replaceChildren(...turns.map(({ stroke }) => {
      const mark = document.createElement("i");
      mark.style.left = `${(100 * player.timeOf(stroke)) / (player.duration || 1)}%`;
      return mark;
    }));
  }

  function showTime(ms, isPlaying) {
    if (!player) return;
    if (!isSeeking) $("seek").value = ms;
    $("seek").setAttribute("aria-valuetext", length(ms / 1000));
    $("clock").textContent = length(ms / 1000);
    $("play").textContent = isPlaying ? "STOP" : "PLAY";
    const turn = turns.findLast(({ stroke }) => stroke <= player.next);
    $("turn").textContent = turn ? `${turn.code}  ${turn.typed}` : "";
  }

  function jump(step) {
    const at = player.next, strokes = [0, ...turns.map(({ stroke }) => stroke)];
    const target = step > 0 ? strokes.find((stroke) => stroke > at) : strokes.findLast((stroke) => stroke < at - 10);
    player.seekToStroke(target ?? (step > 0 ? player.strokes.length : 0));
  }

  function changeSpeed(step) {
    const select = $("speed");
    select.selectedIndex = Math.min(Math.max(select.selectedIndex + step, 0), select.options.length - 1);
    player.setSpeed(Number(select.value));
  }

  const KEYS = {
    " ": () => player.toggle(), ".": () => player.step(), "[": () => jump(-1), "]": () => jump(1),
    "+": () => changeSpeed(1), "-": () => changeSpeed(-1), 1: () => changeSpeed(-99),
  };

  $("play").addEventListener("click", () => player.toggle());
  $("before").addEventListener("click", () => jump(-1));
  $("after").addEventListener("click", () => jump(1));
  $("speed").addEventListener("change", () => changeSpeed(0));
  $("idle").addEventListener("change", () => {
    player.setIdle($("idle").checked ? IDLE_MS : Infinity);
    showTrack();
  });
  $("seek").addEventListener("input", () => {
    isSeeking = true;
    player.seek(Number($("seek").value));
    isSeeking = false;
  });
  document.addEventListener("keydown", (event) => {
    if (!player || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, button") && (event.key === " " || event.target.matches("select"))) return;
    const act = KEYS[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
  const fail = (error) => ($("about").textContent = error.message);
  $("more").addEventListener("click", () => listSessions().catch(fail));
  window.addEventListener("hashchange", () => openSession().catch(fail));
  listSessions().then(openSession).catch(fail);
})();
