// One screen at a time: show it, take the vote, send it until the server has it, show the next.
"use strict";

const LEFT_KEYS = ["a", "s", "d", "f", "g"];
const RIGHT_KEYS = ["j", "k", "l", ";", "'"];
const PREFERENCE_KEYS = ["1", "2", "3", "4", "5"];
const base = location.pathname.replace(/\/$/, "");
const element = (id) => document.getElementById(id);

let screen = null;
let total = 0;
let shownAt = 0;
let isSending = false;

function makeChoices(fieldset, name, labels, keys) {
  labels.forEach((text, place) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = name;
    input.value = String(place);
    const key = document.createElement("kbd");
    key.textContent = keys[place].toUpperCase();
    key.setAttribute("aria-hidden", "true");
    label.append(input, " ", text, key);
    element(fieldset).append(label);
  });
}

function chosen(name) {
  const input = document.querySelector(`input[name="${name}"]:checked`);
  return input === null ? null : Number(input.value);
}

function choose(name, place) {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
    input.checked = place !== null && input.value === String(place);
  }
}

async function ask(path, options) {
  const answer = await fetch(base + path, options);
  if (!answer.ok) {
    const error = new Error(await answer.text());
    error.isRefusal = answer.status < 500;
    throw error;
  }
  return answer.json();
}

function showProgress(done) {
  element("progress").textContent = `${done} of ${total} screens done`;
  element("bar").max = Math.max(total, 1);
  element("bar").value = done;
}

async function show(position) {
  const query = position === undefined ? "" : `?position=${position}`;
  let answer;
  try {
    answer = await ask(`/screen${query}`);
  } catch (error) {
    element("message").textContent = "The server does not answer. Trying again.";
    setTimeout(() => show(position), 2000);
    return;
  }
  element("message").textContent = "";
  total = answer.total;
  showProgress(answer.done);
  screen = answer.screen;
  element("screen").hidden = screen === null;
  element("finished").hidden = screen !== null;
  if (screen === null) return;
  element("prompt").textContent = screen.prompt;
  element("left").textContent = screen.left;
  const two = screen.right !== null;
  element("right").textContent = two ? screen.right : "";
  element("right-side").hidden = !two;
  element("preferences").hidden = !two;
  element("sides").classList.toggle("one", !two);
  element("left-title").textContent = two ? "Left" : "Response";
  const vote = screen.vote || { left_level: null, right_level: null, preference: null, comment: "", flagged: false };
  choose("left_level", vote.left_level);
  choose("right_level", vote.right_level);
  choose("preference", vote.preference);
  element("comment").value = vote.comment;
  element("flagged").checked = vote.flagged;
  element("back").disabled = screen.position === 0;
  shownAt = performance.now();
  window.scrollTo(0, 0);
  element("prompt-title").focus();
}

function missing(vote) {
  if (vote.flagged) return "";
  if (vote.left_level === null) return "Rate the left response.";
  if (screen.right !== null && vote.right_level === null) return "Rate the right response.";
  if (screen.right !== null && vote.preference === null && !element("preferences").hidden) return "Say which one you prefer, or that it is a tie.";
  return "";
}

async function save() {
  if (screen === null || isSending) return;
  const two = screen.right !== null;
  const vote = {
    assignment: screen.id,
    left_level: chosen("left_level"),
    right_level: two ? chosen("right_level") : null,
    preference: two ? chosen("preference") : null,
    flagged: element("flagged").checked,
    comment: element("comment").value,
    seconds: (performance.now() - shownAt) / 1000,
  };
  const reason = missing(vote);
  element("message").textContent = reason;
  if (reason) return;
  isSending = true;
  try {
    await send(vote);
  } finally {
    isSending = false;
  }
}

async function send(vote) {
  // The same vote sent again is the same vote, so it is sent until the server says that it has it.
  for (;;) {
    try {
      const answer = await ask("/vote", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(vote),
      });
      showProgress(answer.done);
      await show(screen.vote === null ? undefined : screen.position + 1 < total ? screen.position + 1 : undefined);
      return;
    } catch (error) {
      if (error.isRefusal) {
        element("message").textContent = error.message;
        return;
      }
      element("message").textContent = "The vote is not saved yet: the server does not answer. Trying again.";
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  }
}

function goBack() {
  const position = screen === null ? total - 1 : screen.position - 1;
  if (position >= 0 && !isSending) show(position);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === element("comment")) return;
  const key = event.key.toLowerCase();
  const groups = [["left_level", LEFT_KEYS], ["right_level", RIGHT_KEYS], ["preference", PREFERENCE_KEYS]];
  for (const [name, keys] of groups) {
    const input = document.querySelectorAll(`input[name="${name}"]`)[keys.indexOf(key)];
    if (input !== undefined) {
      input.checked = true;
      event.preventDefault();
      return;
    }
  }
  if (key === "backspace") {
    event.preventDefault();
    goBack();
  } else if (key === "enter" && event.target.tagName !== "BUTTON" && event.target.tagName !== "SUMMARY") {
    event.preventDefault();
    save();
  }
}

async function start() {
  let protocol;
  for (;;) {
    try {
      protocol = await ask("/protocol");
      break;
    } catch (error) {
      element("message").textContent = "The server does not answer. Trying again.";
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  }
  const levels = protocol.levels.map((level) => level.name);
  makeChoices("left-levels", "left_level", levels, LEFT_KEYS);
  makeChoices("right-levels", "right_level", levels, RIGHT_KEYS);
  makeChoices("preferences", "preference", protocol.preference.map((choice) => choice.name), PREFERENCE_KEYS);
  element("prompt-title").tabIndex = -1;
  element("screen").addEventListener("submit", (event) => { event.preventDefault(); save(); });
  element("back").addEventListener("click", goBack);
  element("back-again").addEventListener("click", goBack);
  document.addEventListener("keydown", onKey);
  await show();
}

start();
