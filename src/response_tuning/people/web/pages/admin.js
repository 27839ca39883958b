// Keep the results up to date, without moving what is being read or a button that has the focus.
"use strict";

const REFRESH_MILLISECONDS = 60000;

async function refresh() {
  if (document.hidden || document.activeElement.closest("form") !== null) return;
  try {
    const answer = await fetch(location.pathname, { signal: AbortSignal.timeout(REFRESH_MILLISECONDS) });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
  } catch (error) {
    // The server is away: the next try is in a minute.
  }
}

setInterval(refresh, REFRESH_MILLISECONDS);
