"use strict";

const byId = (id) => document.getElementById(id);
const question = byId("question");
const earlier = new Map(); // by the run's name: messages of the dialogue so far
const asked = [];
let runs = [];
let underWay = null;

const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
};

async function listRuns() {
  try {
    const listed = await (await fetch("/v1/models")).json();
    runs = listed.data.map((model) => model.id);
    byId("served").textContent = runs.join(", ");
    document.documentElement.style.setProperty("--runs", runs.length);
  } catch {
    byId("served").textContent = "The server does not answer. Start it again and reload this page.";
  }
}

// The answers of one question, one for each run, side by side.
function addTurn(text) {
  const turn = element("section", "turn");
  turn.append(element("h2", "", text));
  const answers = element("div", "answers");
  turn.append(answers);
  byId("turns").append(turn);
  return runs.map((run) => {
    const answer = element("article", "answer");
    answer.dataset.run = run;
    answer.setAttribute("aria-busy", "true");
    const body = element("p");
    answer.append(element("h3", "", run), body);
    answers.append(answer);
    return { run, answer, body };
  });
}

const isAtEnd = () => {
  const turns = byId("turns");
  return turns.scrollHeight - turns.scrollTop - turns.clientHeight < 40;
};

function append(place, text) {
  const follow = isAtEnd();
  place.body.append(text);
  if (follow) byId("turns").scrollTop = byId("turns").scrollHeight;
}

function note(place, text, isWrong) {
  place.answer.append(element("p", isWrong ? "note wrong" : "note", text));
}

function messagesFor(run, text) {
  const system = byId("system").value.trim();
  const before = byId("keep").checked ? earlier.get(run) || [] : [];
  return [...(system ? [{ role: "system", content: system }] : []), ...before, { role: "user", content: text }];
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      if (part.startsWith("data: ") && part !== "data: [DONE]") yield JSON.parse(part.slice(6));
    }
  }
}

async function answer(place, text, signal) {
  const limit = byId("limit").valueAsNumber;
  const body = { model: place.run, messages: messagesFor(place.run, text), stream: true };
  if (limit >= 1) body.max_tokens = Math.floor(limit);
  let whole = "";
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      if (choice.delta.content) {
        whole += choice.delta.content;
        append(place, choice.delta.content);
      }
      if (choice.finish_reason === "length") note(place, "Cut at the longest response.", false);
    }
    if (!whole) note(place, "An empty response.", false);
  } catch (error) {
    note(place, signal.aborted ? "Stopped." : error.message, !signal.aborted);
  }
  place.answer.setAttribute("aria-busy", "false");
  const turns = [{ role: "user", content: text }, { role: "assistant", content: whole }];
  earlier.set(place.run, [...(earlier.get(place.run) || []), ...turns]);
}

async function ask() {
  const text = question.value.trim();
  if (!text || underWay || !runs.length) return;
  asked.push(text);
  question.value = "";
  if (!byId("keep").checked) earlier.clear();
  underWay = new AbortController();
  byId("send").disabled = true;
  byId("stop").disabled = false;
  byId("status").textContent = "The runs are answering.";
  const places = addTurn(text);
  byId("turns").scrollTop = byId("turns").scrollHeight;
  await Promise.all(places.map((place) => answer(place, text, underWay.signal)));
  underWay = null;
  byId("send").disabled = false;
  byId("stop").disabled = true;
  byId("status").textContent = `${runs.length} answers are complete.`;
}

const stop = () => underWay && underWay.abort();

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
byId("stop").addEventListener("click", () => {
  stop();
  question.focus();
});
byId("new-dialogue").addEventListener("click", () => {
  stop();
  earlier.clear();
  byId("turns").replaceChildren();
  question.focus();
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  } else if (event.key === "ArrowUp" && !question.value && asked.length) {
    event.preventDefault();
    question.value = asked[asked.length - 1];
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
});
listRuns();
