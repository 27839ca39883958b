// One screen at a time: show it, take the vote, send it until the server has it, show the next.
"use strict";

const KEYS = {
  left_level: ["a", "s", "d", "f", "g"],
  right_level: ["h", "j", "k", "l", ";"],
  preference: ["1", "2", "3", "4", "5"],
};
const RETRY_MILLISECONDS = 1000;
const GIVE_UP_MILLISECONDS = 10000;
const base = location.pathname.replace(/\/$/, "");
const element = (id) => document.getElementById(id);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let screen = null;
let isBusy = false;
let next = null; // what to show after the explanation of a training screen

// The time that a screen was in view, without pauses and hidden windows.
const clock = {
  milliseconds: 0,
  since: null,
  start() { this.milliseconds = 0; this.since = performance.now(); },
  stop() { if (this.since !== null) { this.milliseconds += performance.now() - this.since; this.since = null; } },
  resume() { if (this.since === null) this.since = performance.now(); },
  get seconds() { return (this.milliseconds + (this.since === null ? 0 : performance.now() - this.since)) / 1000; },
};

function makeChoices(fieldset, name, labels) {
  labels.forEach((text, place) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = name;
    input.value = String(place);
    const key = document.createElement("kbd");
    key.className = "key";
    key.textContent = KEYS[name][place].toUpperCase();
    key.setAttribute("aria-hidden", "true");
    label.append(input, text, key);
    element(fieldset).append(label);
  });
}

function inputs(name) { return [...document.querySelectorAll(`input[name="${name}"]`)]; }

function chosen(name) {
  const place = inputs(name).findIndex((input) => input.checked);
  return place < 0 ? null : place;
}

function choose(name, place) { inputs(name).forEach((input, number) => { input.checked = number === place; }); }

function say(message) { element("message").textContent = message; }

function only(shown) {
  for (const id of ["screen", "finished", "paused", "explanation"]) element(id).hidden = id !== shown;
}

// Ask until the server answers. A request that hangs is given up and sent again: the same vote twice is one vote.
async function ask(path, options, waiting) {
  for (;;) {
    let answer = null;
    try {
      answer = await fetch(base + path, { ...options, signal: AbortSignal.timeout(GIVE_UP_MILLISECONDS) });
      if (answer.ok) return await answer.json();
    } catch (error) {
      answer = null;
    }
    if (answer !== null && answer.status < 500) throw new Error(await answer.text());
    say(waiting);
    await wait(RETRY_MILLISECONDS);
  }
}

function showProgress(answer) {
  const held = answer.held ? `, ${answer.held} held back` : "";
  element("progress").textContent = `${answer.done} of ${answer.total} screens done${held}`;
  element("bar").max = Math.max(answer.total, 1);
  element("bar").value = answer.done;
  element("held").hidden = !answer.held;
  element("held").textContent = `${answer.held} more wait for the administrator. Open this link again later.`;
}

// The server has formatted Markdown without the response's own HTML, links and images.
function fill(id, text, html) {
  element(id).classList.toggle("formatted", html !== undefined && html !== null);
  if (html === undefined || html === null) element(id).textContent = text === null ? "" : text;
  else element(id).innerHTML = html;
  element(id).scrollTop = 0;
}

async function show(query) {
  const answer = await ask(`/screen${query}`, {}, "The server does not answer. Trying again.");
  say("");
  showProgress(answer);
  screen = answer.screen;
  if (screen === null) {
    only("finished");
    element("back-again").disabled = answer.done === 0;
    element("finished-title").focus();
    return;
  }
  only("screen");
  element("screen").dataset.position = screen.position;
  const two = screen.right !== null;
  fill("prompt", screen.prompt);
  fill("left", screen.left, screen.left_html);
  fill("right", screen.right, screen.right_html);
  element("round").hidden = !screen.is_training;
  element("right-side").hidden = !two;
  element("preferences").hidden = !two || inputs("preference").length === 0;
  element("sides").classList.toggle("one", !two);
  element("left-title").textContent = two ? "Left response" : "Response";
  const vote = screen.vote || { left_level: null, right_level: null, preference: null, comment: "", flagged: false };
  for (const name of Object.keys(KEYS)) choose(name, vote[name]);
  element("comment").value = vote.comment;
  element("flagged").checked = vote.flagged;
  element("back").disabled = !screen.has_previous;
  clock.start();
  window.scrollTo(0, 0);
  element("prompt-title").focus({ preventScroll: true });
}

function missing(vote) {
  if (vote.flagged) return "";
  if (vote.left_level === null) return screen.right === null ? "Rate the response." : "Rate the left response.";
  if (screen.right === null) return "";
  if (vote.right_level === null) return "Rate the right response.";
  return vote.preference === null && inputs("preference").length ? "Choose a preference, or a tie." : "";
}

// One thing at a time: a second click or key while a request is under way does nothing.
async function alone(action) {
  if (isBusy) return;
  busy(true);
  try {
    await action();
  } catch (error) {
    say(error.message);
  } finally {
    busy(false);
  }
}

function busy(is) {
  isBusy = is;
  element("save").disabled = is;
  document.querySelector("main").setAttribute("aria-busy", String(is));
}

async function save() {
  if (screen === null || element("screen").hidden) return;
  const two = screen.right !== null;
  const vote = {
    assignment: screen.id,
    left_level: chosen("left_level"),
    right_level: two ? chosen("right_level") : null,
    preference: two ? chosen("preference") : null,
    flagged: element("flagged").checked,
    comment: element("comment").value,
    seconds: clock.seconds,
  };
  const reason = missing(vote);
  say(reason);
  if (reason) return;
  const answer = await ask(
    "/vote",
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(vote) },
    "The vote is not saved yet: the server does not answer. Trying again.",
  );
  say("");
  showProgress(answer);
  const query = screen.vote === null ? "" : `?after=${screen.position}`;
  if (answer.explanation) explain(answer.explanation, query);
  else await show(query);
}

function explain(text, query) {
  next = query;
  element("explanation-text").textContent = text;
  only("explanation");
  element("explanation-title").focus();
}

function goBack() {
  if (screen === null) return show("?before=1000000000");
  return screen.has_previous ? show(`?before=${screen.position}`) : undefined;
}

function pause() {
  if (element("screen").hidden) return;
  clock.stop();
  only("paused");
  element("paused-title").focus();
}

function resume() {
  only("screen");
  clock.resume();
  element("prompt-title").focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target === element("comment")) {
    if (event.key === "Escape") element("comment").blur();
    return;
  }
  if (isBusy) return; // a key meant for the next screen does not change this one
  const key = event.key.toLowerCase();
  if (key === "?") return toggleCriteria();
  if (!element("explanation").hidden || !element("paused").hidden) return;
  const isVisible = !element("screen").hidden;
  for (const [name, keys] of Object.entries(KEYS)) {
    const input = isVisible ? inputs(name)[keys.indexOf(key)] : undefined;
    if (input !== undefined && input.closest("[hidden]") === null) {
      input.checked = true;
      input.focus({ preventScroll: true });
      event.preventDefault();
      return;
    }
  }
  if (key === "backspace") return act(event, () => alone(async () => goBack()));
  if (!isVisible) return;
  if (key === "p") return act(event, pause);
  if (key === "c") return act(event, () => element("comment").focus());
  if (key === "x") return act(event, () => element("flagged").click());
  if (key === "enter" && !["BUTTON", "SUMMARY"].includes(event.target.tagName)) act(event, () => alone(save));
}

function act(event, action) {
  event.preventDefault();
  action();
}

function toggleCriteria() {
  element("criteria").open = !element("criteria").open;
  if (element("criteria").open) element("criteria").querySelector("summary").focus();
}

async function start() {
  const protocol = await ask("/protocol", {}, "The server does not answer. Trying again.");
  makeChoices("left-levels", "left_level", protocol.levels);
  makeChoices("right-levels", "right_level", protocol.levels);
  makeChoices("preferences", "preference", protocol.preference);
  element("screen").addEventListener("submit", (event) => act(event, () => alone(save)));
  element("back").addEventListener("click", () => alone(async () => goBack()));
  element("back-again").addEventListener("click", () => alone(async () => goBack()));
  element("pause").addEventListener("click", pause);
  element("resume").addEventListener("click", resume);
  element("understood").addEventListener("click", () => alone(() => show(next)));
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => (document.hidden ? clock.stop() : element("paused").hidden && clock.resume()));
  await alone(() => show(""));
  element("criteria").open = element("bar").value === 0; // before the first vote
}

start().catch((error) => say(error.message));
